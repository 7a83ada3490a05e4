//! New secrets and ids.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring;

use super::signature::SECRET_PREFIX;
use crate::application::ports::{WebhookId, WebhookSecret, WebhookSecrets};
use crate::domain::alphabet::push_bytes;

/// Bytes of a secret, as the specification recommends: 24 to 64.
const SECRET_BYTES: usize = 24;
/// Bytes of an id.
const ID_BYTES: usize = 10;

/// Secrets and ids from the machine's randomness.
pub(crate) struct RandomSecrets;

impl WebhookSecrets for RandomSecrets {
    fn id(&self) -> Option<WebhookId> {
        let mut id = "wh_".to_owned();
        push_bytes(&mut id, &random::<ID_BYTES>()?);
        Some(WebhookId::new(id))
    }

    fn secret(&self) -> Option<WebhookSecret> {
        let bytes = random::<SECRET_BYTES>()?;
        Some(WebhookSecret::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(bytes))))
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_ids_differ_and_have_their_form() {
        let secrets = [(); 2].map(|()| RandomSecrets.secret().unwrap());
        let ids = [(); 2].map(|()| RandomSecrets.id().unwrap());

        assert_ne!(secrets[0], secrets[1]);
        assert_ne!(ids[0], ids[1]);
        let text = secrets[0].reveal().strip_prefix(SECRET_PREFIX).unwrap();
        assert_eq!(STANDARD.decode(text).unwrap().len(), SECRET_BYTES);
        assert_eq!(ids[0].as_str().len(), "wh_".len() + 16);
        assert!(!format!("{:?}", secrets[0]).contains(text));
    }
}
