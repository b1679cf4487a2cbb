// An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import sun.misc.Signal;

public class Consumer {
    static final String SCHEMA = "urn:superoffice-bridge:contact:1";
    static final String QUEUE = "consumer.erasure", DEAD = "consumer.erasure.dead";
    static final String HANDLED = "handled_event (message_id TEXT PRIMARY KEY)";
    static final String TASKS = "erasure_task (contact_id INTEGER, deleted_at TEXT)";
    static final ObjectMapper JSON = new ObjectMapper();
    static volatile boolean stopping;

    /** Applies an event, once: its id and its effect are one transaction. */
    static String handle(Connection database, JsonNode event) throws SQLException {
        var remember = "INSERT INTO handled_event VALUES (?) ON CONFLICT DO NOTHING";
        var note = "INSERT INTO erasure_task VALUES (?, ?)";
        try (var id = database.prepareStatement(remember);
                var task = database.prepareStatement(note)) {
            id.setString(1, event.get("id").asText());
            if (id.executeUpdate() == 0) {
                return "seen before";
            }
            task.setLong(1, event.get("data").get("primary_key").asLong());
            task.setString(2, event.get("time").asText());
            task.executeUpdate();
            database.commit();
            return "handled";
        } finally {
            database.rollback(); // does nothing after a commit
        }
    }

    /** Returns the event, null if the message holds none that this consumer understands. */
    static JsonNode parse(Delivery message) {
        try {
            var event = JSON.readTree(message.getBody());
            var isOurs = SCHEMA.equals(event.path("dataschema").asText())
                    && event.path("id").asText().equals(message.getProperties().getMessageId())
                    && event.path("data").path("primary_key").isIntegralNumber();
            return isOurs ? event : null;
        } catch (IOException notJson) {
            return null;
        }
    }

    /** Handles a message and acknowledges it, in this order; what fails is delivered again. */
    static void settle(Channel channel, Connection database, Delivery message) throws Exception {
        var id = message.getProperties().getMessageId();
        var tag = message.getEnvelope().getDeliveryTag();
        var event = parse(message);
        if (event == null) {
            System.err.println(id + " is not readable: to the dead letters");
            channel.basicReject(tag, false);
            return;
        }
        try {
            System.err.println(id + " " + handle(database, event));
        } catch (SQLException | RuntimeException failure) {
            System.err.println(id + " failed: once more: " + failure);
            Thread.sleep(1000);
            channel.basicReject(tag, true); // not nack: RabbitMQ 4.3 does not count those
            return;
        }
        channel.basicAck(tag, false);
    }

    /** Declares the queue and its dead letters, and binds it; the exchange is the bridge's. */
    static void declare(Channel channel) throws IOException {
        channel.exchangeDeclare(DEAD, "fanout", true);
        channel.queueDeclare(DEAD, true, false, false, Map.of(
                "x-queue-type", "quorum",
                "x-delivery-limit", 1_000_000_000)); // looking must not delete
        channel.queueBind(DEAD, DEAD, "");
        channel.queueDeclare(QUEUE, true, false, false, Map.of(
                "x-queue-type", "quorum",
                "x-delivery-limit", 5,
                "x-dead-letter-exchange", DEAD,
                "x-dead-letter-strategy", "at-least-once",
                "x-overflow", "reject-publish", // at-least-once needs it
                "x-single-active-consumer", true)); // keeps the order of a record
        channel.queueBind(QUEUE, "superoffice", "contact.deleted");
    }

    /** Consumes until told to stop, or until the connection or the channel is lost. */
    static void consume(Connection database) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(System.getenv("AMQP_URL"));
        factory.setAutomaticRecoveryEnabled(false); // it leaves a closed channel closed
        var inbox = new LinkedBlockingQueue<Delivery>();
        try (var connection = factory.newConnection(); var channel = connection.createChannel()) {
            channel.basicQos(10);
            declare(channel);
            channel.basicConsume(
                    QUEUE, false, (tag, message) -> inbox.add(message), tag -> channel.abort());
            while (!stopping && channel.isOpen()) {
                var message = inbox.poll(200, TimeUnit.MILLISECONDS);
                if (message != null) {
                    settle(channel, database, message);
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Signal.handle(new Signal("TERM"), signal -> stopping = true); // a hook would end with 143
        Signal.handle(new Signal("INT"), signal -> stopping = true);
        try (var database = DriverManager.getConnection("jdbc:sqlite:" + System.getenv("DATABASE"));
                var statement = database.createStatement()) {
            statement.executeUpdate("CREATE TABLE IF NOT EXISTS " + HANDLED);
            statement.executeUpdate("CREATE TABLE IF NOT EXISTS " + TASKS);
            database.setAutoCommit(false);
            while (!stopping) {
                try {
                    consume(database);
                } catch (Exception failure) {
                    var why = failure.getCause() == null ? failure : failure.getCause();
                    System.err.println("no broker: " + why);
                    Thread.sleep(1000);
                }
            }
        }
    }
}
