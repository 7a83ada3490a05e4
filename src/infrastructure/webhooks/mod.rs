//! The client of endpoints, by the Standard Webhooks specification (<https://www.standardwebhooks.com>).
//!
//! - [`sender`]: signs, sends, and reads the answer. [`signature`]: how. [`secrets`]: new secrets and ids.
//! - [`endpoint`]: which URLs may be endpoints. [`guard`]: which addresses may be connected to. [`connector`]: connects to these,
//!   and to no other.

pub(crate) mod connector;
pub(crate) mod endpoint;
pub(crate) mod guard;
pub(crate) mod secrets;
pub(crate) mod sender;
pub(crate) mod signature;

pub(crate) use secrets::RandomSecrets;
pub(crate) use sender::{HttpWebhookSender, InvalidRoots};
