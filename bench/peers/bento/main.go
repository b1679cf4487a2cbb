// Bento with the components that the configurations beside this file name, and no others.
package main

import (
	"context"

	"github.com/warpstreamlabs/bento/public/service"
	_ "modernc.org/sqlite"

	_ "github.com/warpstreamlabs/bento/public/components/amqp09"
	_ "github.com/warpstreamlabs/bento/public/components/io"
	_ "github.com/warpstreamlabs/bento/public/components/pure"
	_ "github.com/warpstreamlabs/bento/public/components/sql/base"
)

func main() {
	service.RunCLI(context.Background())
}
