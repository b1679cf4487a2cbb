// An idempotent consumer of contact.deleted, by the contract urn:superoffice-bridge:contact:1.
// Not run and not compiled by this project's tests, unlike those of the other folders.
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;

const string Exchange = "superoffice", Binding = "contact.deleted";
const string Schema = "urn:superoffice-bridge:contact:1";
const string Queue = "consumer.erasure", Dead = "consumer.erasure.dead";
const ushort Prefetch = 10;
const int DeliveryLimit = 5, RetryMilliseconds = 1000;

using var stopping = new CancellationTokenSource();
using var onTerm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
using var onInt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var database = new SqliteConnection($"Data Source={Environment.GetEnvironmentVariable("DATABASE")}");
database.Open();
Execute("CREATE TABLE IF NOT EXISTS handled_event (message_id TEXT PRIMARY KEY)");
Execute("CREATE TABLE IF NOT EXISTS erasure_task (contact_id INTEGER NOT NULL, deleted_at TEXT NOT NULL)");

while (!stopping.IsCancellationRequested)
{
    try
    {
        await Consume();
    }
    catch (Exception failure)
    {
        Console.Error.WriteLine($"no broker: {failure.Message}");
        await Task.Delay(RetryMilliseconds);
    }
}

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
bool Handle(JsonElement received)
{
    using var transaction = database.BeginTransaction(); // rolled back unless it is committed
    var id = received.GetProperty("id").GetString()!;
    var isNew = Execute("INSERT INTO handled_event VALUES ($id) ON CONFLICT DO NOTHING", ("$id", id)) == 1;
    if (isNew)
    {
        var contact = received.GetProperty("data").GetProperty("primary_key").GetInt64();
        var time = received.GetProperty("time").GetString()!;
        Execute("INSERT INTO erasure_task VALUES ($contact, $time)", ("$contact", contact), ("$time", time));
    }
    transaction.Commit();
    return isNew;
}

// Returns the event, null if the message holds none that this consumer understands.
JsonElement? Parse(BasicDeliverEventArgs message)
{
    try
    {
        var received = JsonSerializer.Deserialize<JsonElement>(message.Body.Span);
        var isOurs = received.GetProperty("dataschema").GetString() == Schema
            && received.GetProperty("id").GetString() is { } id && id == message.BasicProperties.MessageId
            && received.GetProperty("data").GetProperty("primary_key").TryGetInt64(out _);
        return isOurs ? received : null;
    }
    catch (Exception failure) when (failure is JsonException or InvalidOperationException or KeyNotFoundException)
    {
        return null;
    }
}

// Handles a message and acknowledges it, in this order; what fails is delivered again.
async Task Settle(IChannel channel, BasicDeliverEventArgs message)
{
    var id = message.BasicProperties.MessageId;
    if (Parse(message) is not JsonElement received)
    {
        Console.Error.WriteLine($"{id} is not readable: to the dead letters");
        await channel.BasicRejectAsync(message.DeliveryTag, requeue: false);
        return;
    }
    try
    {
        Console.Error.WriteLine($"{id} {(Handle(received) ? "handled" : "seen before")}");
    }
    catch (Exception failure)
    {
        Console.Error.WriteLine($"{id} failed: once more: {failure}");
        await Task.Delay(RetryMilliseconds);
        await channel.BasicRejectAsync(message.DeliveryTag, requeue: true); // not nack: RabbitMQ 4.3 does not count those
        return;
    }
    await channel.BasicAckAsync(message.DeliveryTag, multiple: false);
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
    var arguments = new Dictionary<string, object?>
    {
        ["x-queue-type"] = "quorum",
        ["x-delivery-limit"] = DeliveryLimit,
        ["x-dead-letter-exchange"] = Dead,
        ["x-dead-letter-strategy"] = "at-least-once",
        ["x-overflow"] = "reject-publish", // at-least-once needs it
    };
    await channel.QueueDeclareAsync(Queue, durable: true, exclusive: false, autoDelete: false, arguments);
    await channel.QueueBindAsync(Queue, Exchange, Binding);
}

// Consumes until told to stop, or until the connection or the channel is lost.
async Task Consume()
{
    var factory = new ConnectionFactory
    {
        Uri = new Uri(Environment.GetEnvironmentVariable("AMQP_URL")!),
        AutomaticRecoveryEnabled = false, // the loop above starts again, also after a closed channel
    };
    await using var connection = await factory.CreateConnectionAsync();
    await using var channel = await connection.CreateChannelAsync();
    await channel.BasicQosAsync(prefetchSize: 0, Prefetch, global: false);
    await Declare(channel);
    var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
    using var registration = stopping.Token.Register(() => ended.TrySetResult());
    channel.ChannelShutdownAsync += (_, _) => { ended.TrySetResult(); return Task.CompletedTask; };
    var working = new SemaphoreSlim(1); // one at a time, in order
    var consumer = new AsyncEventingBasicConsumer(channel);
    consumer.ReceivedAsync += async (_, message) =>
    {
        await working.WaitAsync();
        try
        {
            if (!ended.Task.IsCompleted) await Settle(channel, message);
        }
        finally
        {
            working.Release();
        }
    };
    consumer.UnregisteredAsync += (_, _) => { ended.TrySetResult(); return Task.CompletedTask; }; // the queue is gone
    await channel.BasicConsumeAsync(Queue, autoAck: false, consumer);
    await ended.Task;
    await working.WaitAsync(); // for the message in hand; the queue gets back those behind it
    working.Release();
}
