// Forty lines of Go, and what a careful person adds: a connection that is made anew, a deadline,
// and a look at what was returned. The answer is 200 after the broker's confirm.
package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	deadline   = 4 * time.Second
	mostReturn = 4096 // more than can be under way
)

var (
	secret   = []byte(os.Getenv("PEER_SECRET"))
	exchange = os.Getenv("PEER_EXCHANGE")
	current  atomic.Pointer[publisher] // nil while there is no connection
)

func main() {
	ready := make(chan struct{})
	go stayConnected(sync.OnceFunc(func() { close(ready) }))
	<-ready
	http.HandleFunc("POST /webhook", receive)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PEER_PORT"), nil))
}

func receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil || !authentic(body, r.Header.Get("X-SuperOffice-Signature")) {
		http.Error(w, "signature", http.StatusUnauthorized)
		return
	}
	publisher := current.Load()
	message := amqp.Publishing{
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    r.Header.Get("X-SuperOffice-EventId"),
		Body:         body,
	}
	if publisher == nil || !publisher.confirmed(r.Context(), r.Header.Get("X-SuperOffice-Event"), message) {
		http.Error(w, "broker", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"published"}`)
}

func authentic(body []byte, signature string) bool {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	expected := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(expected), []byte(signature))
}

// publisher is one confirming channel, and the ids of what it was given back.
type publisher struct {
	channel  *amqp.Channel
	returns  chan amqp.Return
	lock     sync.Mutex
	returned map[string]bool
}

func (p *publisher) confirmed(ctx context.Context, key string, message amqp.Publishing) bool {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	confirm, err := p.channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, message)
	if err != nil {
		return false
	}
	acked, err := confirm.WaitContext(ctx)
	return err == nil && acked && !p.wasReturned(message.MessageId)
}

// wasReturned takes what the library has put there: a return always before its confirm.
func (p *publisher) wasReturned(id string) bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	for len(p.returns) > 0 {
		p.returned[(<-p.returns).MessageId] = true
	}
	found := p.returned[id]
	delete(p.returned, id)
	return found
}

func stayConnected(ready func()) {
	for {
		if err := connected(os.Getenv("PEER_BROKER"), ready); err != nil {
			log.Print(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// connected publishes through one connection until that is lost.
func connected(url string, ready func()) error {
	connection, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.ExchangeDeclare(exchange, "topic", true, false, false, false, nil); err != nil {
		return err
	}
	if err := channel.Confirm(false); err != nil {
		return err
	}
	lost := channel.NotifyClose(make(chan *amqp.Error, 1))
	current.Store(&publisher{
		channel:  channel,
		returns:  channel.NotifyReturn(make(chan amqp.Return, mostReturn)),
		returned: map[string]bool{},
	})
	defer current.Store(nil)
	ready()
	return <-lost
}
