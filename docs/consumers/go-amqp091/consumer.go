// An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	_ "modernc.org/sqlite"
)

const (
	exchange, binding = "superoffice", "contact.deleted"
	schema            = "urn:superoffice-bridge:contact:1"
	queue, dead       = "consumer.erasure", "consumer.erasure.dead"
	prefetch          = 10
	deliveryLimit     = 5
	retryPause        = time.Second
	tables            = `
		CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY);
		CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER NOT NULL, deleted_at TEXT NOT NULL);`
)

type event struct {
	ID         string `json:"id"`
	Time       string `json:"time"`
	DataSchema string `json:"dataschema"`
	Data       struct {
		PrimaryKey *int64 `json:"primary_key"` // nil if there is none
	} `json:"data"`
}

// handle applies an event, once: its id and its effect are one transaction.
func handle(database *sql.DB, e event) (isNew bool, err error) {
	transaction, err := database.Begin()
	if err != nil {
		return false, err
	}
	defer transaction.Rollback() // does nothing after a commit
	remembered, err := transaction.Exec("INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING", e.ID)
	if err != nil {
		return false, err
	}
	if rows, err := remembered.RowsAffected(); err != nil || rows == 0 {
		return false, err
	}
	if _, err := transaction.Exec("INSERT INTO erasure_task VALUES (?, ?)", *e.Data.PrimaryKey, e.Time); err != nil {
		return false, err
	}
	return true, transaction.Commit()
}

// settle handles a message and acknowledges it, in this order; what fails is delivered again.
func settle(database *sql.DB, message amqp.Delivery) error {
	var e event
	err := json.Unmarshal(message.Body, &e)
	isOurs := err == nil && e.DataSchema == schema && e.ID != "" && e.ID == message.MessageId
	if !isOurs || e.Data.PrimaryKey == nil {
		log.Printf("%s is not readable: to the dead letters", message.MessageId)
		return message.Reject(false)
	}
	isNew, err := handle(database, e)
	if err != nil {
		log.Printf("%s failed: once more: %v", message.MessageId, err)
		time.Sleep(retryPause)
		return message.Reject(true) // not nack: RabbitMQ 4.3 does not count those
	}
	outcome := "seen before"
	if isNew {
		outcome = "handled"
	}
	log.Println(message.MessageId, outcome)
	return message.Ack(false)
}

// declare declares the queue and its dead letters, and binds it; the exchange is the bridge's.
func declare(channel *amqp.Channel) error {
	if err := channel.ExchangeDeclare(dead, "fanout", true, false, false, false, nil); err != nil {
		return err
	}
	keep := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000} // looking must not delete
	if _, err := channel.QueueDeclare(dead, true, false, false, false, keep); err != nil {
		return err
	}
	if err := channel.QueueBind(dead, "", dead, false, nil); err != nil {
		return err
	}
	arguments := amqp.Table{
		"x-queue-type":           "quorum",
		"x-delivery-limit":       deliveryLimit,
		"x-dead-letter-exchange": dead,
		"x-dead-letter-strategy": "at-least-once",
		"x-overflow":             "reject-publish", // at-least-once needs it
	}
	if _, err := channel.QueueDeclare(queue, true, false, false, false, arguments); err != nil {
		return err
	}
	return channel.QueueBind(queue, binding, exchange, false, nil)
}

// consume returns nil when told to stop, and an error when the connection is lost.
func consume(stopping context.Context, database *sql.DB) error {
	patience := amqp.Config{Dial: amqp.DefaultDial(10 * time.Second), Heartbeat: 10 * time.Second}
	connection, err := amqp.DialConfig(os.Getenv("AMQP_URL"), patience)
	if err != nil {
		return err
	}
	defer connection.Close() // the queue gets back what was not acknowledged
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Qos(prefetch, 0, false); err != nil {
		return err
	}
	if err := declare(channel); err != nil {
		return err
	}
	messages, err := channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for stopping.Err() == nil {
		select {
		case <-stopping.Done():
		case message, open := <-messages:
			if !open {
				return amqp.ErrClosed
			}
			if err := settle(database, message); err != nil {
				return err
			}
		}
	}
	return nil
}

func main() {
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	database, err := sql.Open("sqlite", "file:"+os.Getenv("DATABASE")+"?_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		log.Fatal(err)
	}
	defer database.Close()
	if _, err := database.Exec(tables); err != nil {
		log.Fatal(err)
	}
	for stopping.Err() == nil {
		if err := consume(stopping, database); err != nil {
			log.Printf("no broker: %v", err)
			time.Sleep(retryPause)
		}
	}
}
