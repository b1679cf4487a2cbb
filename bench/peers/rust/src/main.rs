//! axum and lapin: 200 after the broker's confirm. The connection is made anew when it is lost, and
//! an event has a deadline.

use std::{env, error::Error, sync::LazyLock, time::Duration};

use axum::{
    body::Bytes,
    http::{header::CONTENT_TYPE, HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
    Router,
};
use base64::{engine::general_purpose::STANDARD, Engine};
use hmac::{Hmac, Mac};
use lapin::{
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    types::FieldTable,
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::watch, time};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DEADLINE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(100);
const PERSISTENT: u8 = 2;

static SECRET: LazyLock<String> = LazyLock::new(|| variable("PEER_SECRET"));
static EXCHANGE: LazyLock<String> = LazyLock::new(|| variable("PEER_EXCHANGE"));

/// The present channel; none while there is no connection.
type Current = watch::Receiver<Option<Channel>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (sender, mut current) = watch::channel(None);
    tokio::spawn(stay_connected(sender));
    current.wait_for(Option::is_some).await?;
    let app = Router::new().route(
        "/webhook",
        post(move |headers: HeaderMap, body: Bytes| receive(current.clone(), headers, body)),
    );
    let listener = TcpListener::bind(("127.0.0.1", variable("PEER_PORT").parse()?)).await?;
    Ok(axum::serve(listener, app).await?)
}

async fn receive(current: Current, headers: HeaderMap, body: Bytes) -> Response {
    if !is_authentic(&body, header(&headers, "x-superoffice-signature")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match time::timeout(DEADLINE, published(current, &headers, &body)).await {
        Ok(Ok(Confirmation::Ack(None))) => {
            let kind = [(CONTENT_TYPE, "application/json")];
            (kind, r#"{"status":"published"}"#).into_response()
        }
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn published(
    current: Current,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Confirmation, Box<dyn Error + Send + Sync>> {
    let channel = current.borrow().clone().ok_or("no connection")?;
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(header(headers, "x-superoffice-eventid").into());
    let key = header(headers, "x-superoffice-event").into();
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let confirm = channel.basic_publish(EXCHANGE.as_str().into(), key, options, body, properties);
    Ok(confirm.await?.await?)
}

fn is_authentic(body: &[u8], signature: &str) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length will do");
    mac.update(body);
    STANDARD
        .decode(signature)
        .is_ok_and(|given| mac.verify_slice(&given).is_ok())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}

async fn stay_connected(sender: watch::Sender<Option<Channel>>) {
    loop {
        if let Err(error) = connected(&sender).await {
            eprintln!("{error}");
        }
        sender.send_replace(None);
        time::sleep(PAUSE).await;
    }
}

/// Publishes through one connection until that is lost.
async fn connected(sender: &watch::Sender<Option<Channel>>) -> Result<(), lapin::Error> {
    let url = variable("PEER_BROKER"); // for lapin, a slash at its end names a virtual host ""
    let url = url.trim_end_matches('/');
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel
        .exchange_declare(
            EXCHANGE.as_str().into(),
            ExchangeKind::Topic,
            ExchangeDeclareOptions {
                durable: true,
                ..Default::default()
            },
            FieldTable::default(),
        )
        .await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    sender.send_replace(Some(channel.clone()));
    while connection.status().connected() && channel.status().connected() {
        time::sleep(LOOK).await;
    }
    Ok(())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
