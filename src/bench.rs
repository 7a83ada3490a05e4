//! Parts of the library for the benchmarks only, behind the feature `bench`.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use axum::response::Response;
use chrono::DateTime;
use futures_util::future::try_join_all;
use tokio::runtime::Builder;

use crate::application::catalogue::Item;
use crate::application::checkout::CheckoutAnswer;
use crate::application::ports::{
    CodeSigner, Message, NoAnswer, Target, WebhookSecrets, WebhookSender,
};
use crate::config::{CodeKey, WebhooksConfig};
use crate::domain::purchase::Outcome;
use crate::infrastructure::webhooks::{HttpWebhookSender, RandomSecrets};
use crate::infrastructure::{http, persistence, signing};

/// An event of a purchase of two items.
const EVENT: &str = r#"{"specversion":"1.0","id":"0b7d4c1e-5d0a-4c6e-9a53-1f4d6b1f8a10.17","source":"/flash-sale","type":"flash_sale.purchase.settled.v1","subject":"CHK-S-1-WM1TNXF9FS3KT55R160TF9","time":"2027-01-31T15:00:00.123456Z","datacontenttype":"application/json","data":{"code":"CHK-S-1-WM1TNXF9FS3KT55R160TF9","sale_id":"S-1","buyer_id":"b1234567","purchased_at":"2027-01-31T15:00:00.123456Z","pieces_bought":2,"bought":[{"id":"17","name":"Item 17","image_url":"https://images.example.com/items/17.jpg","quantity":1},{"id":"4","name":"Item 4","image_url":"https://images.example.com/items/4.jpg","quantity":1}],"not_bought":[]}}"#;

/// Serves like `flash-sale serve`, but with one transaction per request.
#[must_use]
pub fn serve_direct() -> ExitCode {
    crate::cli::run_service(crate::app::one_by_one)
}

/// The statements of a batch without contention and without recent writes.
#[derive(Debug)]
pub struct Statements {
    /// Reads the state on which a batch of checkouts is decided.
    pub read_checkouts: String,
    /// Writes the decisions.
    pub write_checkouts: String,
    /// Reads the state on which a batch of purchases is decided.
    pub read_purchases: String,
    /// Writes the decisions.
    pub write_purchases: String,
}

/// The statements for the partitions with this suffix: `_from_0` contains the sales 1 to 99.
#[must_use]
pub fn statements(ending: &str) -> Statements {
    let made = |template| persistence::for_partition(template, ending);
    Statements {
        read_checkouts: made(persistence::READ_CHECKOUTS),
        write_checkouts: made(persistence::WRITE_CHECKOUTS),
        read_purchases: made(persistence::READ_PURCHASES),
        write_purchases: made(persistence::WRITE_PURCHASES),
    }
}

/// The service's signer with one key; `None` if the key is invalid.
#[must_use]
pub fn signer(key: CodeKey) -> Option<Arc<dyn CodeSigner>> {
    Some(Arc::new(signing::HmacSigner::new(&[key]).ok()?))
}

/// Creates the response to a checkout and returns the size of its body in bytes.
#[must_use]
pub fn checkout_response(answer: CheckoutAnswer) -> u64 {
    body_bytes(&http::checkout_response(answer))
}

/// Creates the response to a purchase and returns the size of its body in bytes.
#[must_use]
pub fn purchase_response(outcome: &Outcome, items: Vec<Item>) -> u64 {
    body_bytes(&http::purchase_response(outcome, items))
}

/// Signs one event and sends it to this URL over and over, so many times at once, with the service's client of endpoints. Returns
/// how often a second it was answered with success.
pub fn webhook_loop(
    url: &str,
    concurrency: usize,
    time: Duration,
) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let config = WebhooksConfig {
        allow_private: true,
        ssl_root_cert: None,
        timeout: time,
        concurrency,
        max_attempts: 2,
        disable_after: time,
    };
    let sender = HttpWebhookSender::new(&config)?;
    let secret = RandomSecrets.secret().ok_or("this machine has no randomness")?;
    let (url, secrets) = (Arc::from(sender.endpoint(url)?), vec![secret]);
    let target = Target { url, secrets, read_at: DateTime::UNIX_EPOCH };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let end = Instant::now() + time;
    let one_by_one = async || {
        let mut answered = 0_u32;
        while Instant::now() < end {
            let id = "event".to_owned();
            let message = Message { id, at: DateTime::UNIX_EPOCH, body: EVENT.into() };
            let answer = sender.send(&target, &message).await?;
            answered += u32::from((200..300).contains(&answer.status));
        }
        Ok::<_, NoAnswer>(answered)
    };
    let loops = (0..concurrency).map(|_| one_by_one());
    let answered = runtime.block_on(try_join_all(loops))?;
    Ok(f64::from(answered.iter().sum::<u32>()) / time.as_secs_f64())
}

fn body_bytes(response: &Response) -> u64 {
    response.body().size_hint().lower()
}
