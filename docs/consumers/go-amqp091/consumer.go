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
	schema      = "urn:superoffice-bridge:contact:1"
	queue, dead = "consumer.erasure", "consumer.erasure.dead"
	options     = "?_pragma=busy_timeout(5000)&_txlock=immediate"
	tables      = `
		CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY);
		CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER, deleted_at TEXT);`
)

type event struct {
	ID, Time, DataSchema string
	Data                 struct {
		Key *int64 `json:"primary_key"` // nil if there is none
	}
}

// handle applies an event, once: its id and its effect are one transaction.
func handle(database *sql.DB, e event) (outcome string, err error) {
	tx, err := database.Begin()
	if err != nil {
		return "", err
	}
	defer tx.Rollback() // does nothing after a commit
	remembered, err := tx.Exec("INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING", e.ID)
	if err != nil {
		return "", err
	}
	if rows, err := remembered.RowsAffected(); err != nil || rows == 0 {
		return "seen before", err
	}
	_, err = tx.Exec("INSERT INTO erasure_task VALUES (?, ?)", e.Data.Key, e.Time)
	if err != nil {
		return "", err
	}
	return "handled", tx.Commit()
}

// settle handles a message and acknowledges it, in this order; what fails is delivered again.
func settle(database *sql.DB, message amqp.Delivery) error {
	var e event
	err := json.Unmarshal(message.Body, &e)
	isOurs := err == nil && e.DataSchema == schema && e.ID != "" && e.ID == message.MessageId
	if !isOurs || e.Data.Key == nil {
		log.Printf("%s is not readable: to the dead letters", message.MessageId)
		return message.Reject(false)
	}
	outcome, err := handle(database, e)
	if err != nil {
		log.Printf("%s failed: once more: %v", message.MessageId, err)
		time.Sleep(time.Second)
		return message.Reject(true) // not nack: RabbitMQ 4.3 does not count those
	}
	log.Println(message.MessageId, outcome)
	return message.Ack(false)
}

// declare declares the queue and its dead letters, and binds it; the exchange is the bridge's.
func declare(channel *amqp.Channel) error {
	if err := channel.ExchangeDeclare(dead, "fanout", true, false, false, false, nil); err != nil {
		return err
	}
	// To look at a dead letter counts as a delivery, and must not delete it.
	keep := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
	if _, err := channel.QueueDeclare(dead, true, false, false, false, keep); err != nil {
		return err
	}
	if err := channel.QueueBind(dead, "", dead, false, nil); err != nil {
		return err
	}
	limited := amqp.Table{
		"x-queue-type":             "quorum",
		"x-delivery-limit":         5,
		"x-dead-letter-exchange":   dead,
		"x-dead-letter-strategy":   "at-least-once",
		"x-overflow":               "reject-publish", // at-least-once needs it
		"x-single-active-consumer": true,             // keeps the order of a record
	}
	if _, err := channel.QueueDeclare(queue, true, false, false, false, limited); err != nil {
		return err
	}
	return channel.QueueBind(queue, "contact.deleted", "superoffice", false, nil)
}

// consume consumes until told to stop, or until the connection or the channel is lost.
func consume(stopping context.Context, database *sql.DB) error {
	patience := amqp.Config{Dial: amqp.DefaultDial(10 * time.Second)}
	connection, err := amqp.DialConfig(os.Getenv("AMQP_URL"), patience)
	if err != nil {
		return err
	}
	defer connection.Close() // the queue gets back what was not acknowledged
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Qos(10, 0, false); err != nil {
		return err
	}
	if err := declare(channel); err != nil {
		return err
	}
	messages, err := channel.ConsumeWithContext(stopping, queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for message := range messages {
		if err := settle(database, message); err != nil || stopping.Err() != nil {
			return err
		}
	}
	return amqp.ErrClosed
}

func main() {
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	database, err := sql.Open("sqlite", "file:"+os.Getenv("DATABASE")+options)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := database.Exec(tables); err != nil {
		log.Fatal(err)
	}
	for stopping.Err() == nil {
		if err := consume(stopping, database); err != nil && stopping.Err() == nil {
			log.Printf("no broker: %v", err)
			time.Sleep(time.Second)
		}
	}
}
