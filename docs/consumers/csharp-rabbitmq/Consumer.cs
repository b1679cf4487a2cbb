// An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1.
// Not run and not compiled by this project's tests, unlike those of the other folders.
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.Data.Sqlite;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;

const string Schema = "urn:superoffice-bridge:contact:1";
const string Queue = "consumer.erasure", Dead = "consumer.erasure.dead";

using var stopping = new CancellationTokenSource();
using var onTerm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
using var onInt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var database = new SqliteConnection($"Data Source={Setting("DATABASE")}");
database.Open();
Execute("CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY)");
Execute("CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER, deleted_at TEXT)");

while (!stopping.IsCancellationRequested)
{
    try
    {
        await Consume();
    }
    catch (Exception failure)
    {
        if (stopping.IsCancellationRequested) break;
        Console.Error.WriteLine($"no broker: {failure.Message}");
        await Task.Delay(1000);
    }
}

string Setting(string name) => Environment.GetEnvironmentVariable(name)!;

void Stop(PosixSignalContext signal)
{
    signal.Cancel = true; // the process ends by itself, when the message in hand is finished
    stopping.Cancel();
}

int Execute(string sql, params (string Name, object Value)[] parameters)
{
    using var command = database.CreateCommand();
    command.CommandText = sql;
    foreach (var (name, value) in parameters) command.Parameters.AddWithValue(name, value);
    return command.ExecuteNonQuery();
}

// Applies an event, once: its id and its effect are one transaction.
string Handle(JsonElement received)
{
    using var transaction = database.BeginTransaction(); // rolled back unless it is committed
    var id = received.GetProperty("id").GetString()!;
    var remember = "INSERT INTO handled_event VALUES ($id) ON CONFLICT DO NOTHING";
    if (Execute(remember, ("$id", id)) == 0) return "seen before";
    var key = received.GetProperty("data").GetProperty("primary_key").GetInt64();
    var time = received.GetProperty("time").GetString()!;
    Execute("INSERT INTO erasure_task VALUES ($key, $time)", ("$key", key), ("$time", time));
    transaction.Commit();
    return "handled";
}

// Returns the event, null if the message holds none that this consumer understands.
JsonElement? Parse(Message message)
{
    try
    {
        var received = JsonSerializer.Deserialize<JsonElement>(message.Body);
        var isOurs = received.GetProperty("dataschema").GetString() == Schema
            && received.GetProperty("id").GetString() is { } id && id == message.Id
            && received.GetProperty("data").GetProperty("primary_key").TryGetInt64(out _);
        return isOurs ? received : null;
    }
    catch (Exception)
    {
        return null; // no JSON, or another shape
    }
}

// Handles a message and acknowledges it, in this order; what fails is delivered again.
async Task Settle(IChannel channel, Message message)
{
    if (Parse(message) is not JsonElement received)
    {
        Console.Error.WriteLine($"{message.Id} is not readable: to the dead letters");
        await channel.BasicRejectAsync(message.Tag, requeue: false);
        return;
    }
    try
    {
        Console.Error.WriteLine($"{message.Id} {Handle(received)}");
    }
    catch (Exception failure)
    {
        Console.Error.WriteLine($"{message.Id} failed: once more: {failure}");
        await Task.Delay(1000);
        await channel.BasicRejectAsync(message.Tag, requeue: true); // RabbitMQ 4.3 counts no nack
        return;
    }
    await channel.BasicAckAsync(message.Tag, multiple: false);
}

// Declares the queue and its dead letters, and binds it; the exchange is the bridge's.
async Task Declare(IChannel channel)
{
    await channel.ExchangeDeclareAsync(Dead, ExchangeType.Fanout, durable: true, autoDelete: false);
    var keep = new Dictionary<string, object?>
    {
        ["x-queue-type"] = "quorum",
        ["x-delivery-limit"] = 1_000_000_000, // looking must not delete
    };
    await channel.QueueDeclareAsync(Dead, durable: true, exclusive: false, autoDelete: false, keep);
    await channel.QueueBindAsync(Dead, Dead, routingKey: "");
    var limited = new Dictionary<string, object?>
    {
        ["x-queue-type"] = "quorum",
        ["x-delivery-limit"] = 5,
        ["x-dead-letter-exchange"] = Dead,
        ["x-dead-letter-strategy"] = "at-least-once",
        ["x-overflow"] = "reject-publish", // at-least-once needs it
        ["x-single-active-consumer"] = true, // keeps the order of a record
    };
    await channel.QueueDeclareAsync(
        Queue, durable: true, exclusive: false, autoDelete: false, limited);
    await channel.QueueBindAsync(Queue, "superoffice", "contact.deleted");
}

// Consumes until told to stop, or until the connection or the channel is lost.
async Task Consume()
{
    var factory = new ConnectionFactory
    {
        Uri = new Uri(Setting("AMQP_URL")),
        AutomaticRecoveryEnabled = false, // it leaves a closed channel closed
    };
    await using var connection = await factory.CreateConnectionAsync();
    await using var channel = await connection.CreateChannelAsync();
    await channel.BasicQosAsync(prefetchSize: 0, prefetchCount: 10, global: false);
    await Declare(channel);
    var inbox = Channel.CreateUnbounded<Message>();
    var consumer = new AsyncEventingBasicConsumer(channel);
    consumer.ReceivedAsync += async (_, received) => await inbox.Writer.WriteAsync(
        new(received.DeliveryTag, received.BasicProperties.MessageId, received.Body.ToArray()));
    consumer.UnregisteredAsync += (_, _) => Task.FromResult(inbox.Writer.TryComplete()); // no queue
    channel.ChannelShutdownAsync += (_, _) => Task.FromResult(inbox.Writer.TryComplete());
    await channel.BasicConsumeAsync(Queue, autoAck: false, consumer);
    while (true)
    {
        await Settle(channel, await inbox.Reader.ReadAsync(stopping.Token));
    }
}

record Message(ulong Tag, string? Id, byte[] Body);
