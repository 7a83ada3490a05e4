//! Signatures of the Standard Webhooks specification: HMAC-SHA-256 of `id.seconds.body`, with the bytes behind `whsec_`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::application::ports::{Message, WebhookSecret};

/// What a secret begins with.
pub(crate) const SECRET_PREFIX: &str = "whsec_";

/// The header `webhook-signature`: a signature for each secret, the current one first. `None` if a secret is not readable.
pub(crate) fn signatures(secrets: &[WebhookSecret], message: &Message) -> Option<String> {
    let mut header = String::new();
    for secret in secrets {
        let key = STANDARD.decode(secret.reveal().strip_prefix(SECRET_PREFIX)?).ok()?;
        // HMAC accepts any key, also an empty one, with which any client can sign.
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok().filter(|_| !key.is_empty())?;
        mac.update(message.id.as_bytes());
        mac.update(b".");
        mac.update(message.at.timestamp().to_string().as_bytes());
        mac.update(b".");
        mac.update(&message.body);
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut header);
    }
    (!header.is_empty()).then_some(header)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use bytes::Bytes;
    use chrono::{DateTime, Utc};
    use standardwebhooks::Webhook;

    use super::*;
    use crate::application::ports::WebhookSecrets;
    use crate::infrastructure::webhooks::RandomSecrets;

    fn message(at: DateTime<Utc>) -> Message {
        let body = Bytes::from_static("{\"name\":\"Café\"}".as_bytes());
        Message { id: "evt_1".to_owned(), at, body }
    }

    #[expect(clippy::disallowed_methods, reason = "the library compares with the machine's clock")]
    fn now() -> DateTime<Utc> {
        Utc::now()
    }

    /// Whether the specification's own library accepts the header with this secret.
    fn is_genuine(secret: &WebhookSecret, message: &Message, signatures: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", message.id.parse().unwrap());
        headers.insert("webhook-timestamp", message.at.timestamp().to_string().parse().unwrap());
        headers.insert("webhook-signature", signatures.parse().unwrap());
        let receiver = Webhook::new(secret.reveal()).unwrap();
        receiver.verify(&message.body, &headers).is_ok()
    }

    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        let secret = WebhookSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let message = Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            at: DateTime::from_timestamp(1_614_265_330, 0).unwrap(),
            body: Bytes::from_static(b"{\"test\": 2432232314}"),
        };

        assert_eq!(
            signatures(&[secret], &message).unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn while_a_secret_is_rotated_receivers_with_the_old_and_with_the_new_one_accept() {
        let [new, old, other] = [(); 3].map(|()| RandomSecrets.secret().unwrap());
        let message = message(now());

        let header = signatures(&[new.clone(), old.clone()], &message).unwrap();

        assert!(is_genuine(&new, &message, &header) && is_genuine(&old, &message, &header));
        assert!(!is_genuine(&other, &message, &header));
        let longer = Message { body: Bytes::from_static(b"{}"), ..message.clone() };
        assert!(!is_genuine(&new, &longer, &header));
        let renamed = Message { id: "evt_2".to_owned(), ..message };
        assert!(!is_genuine(&new, &renamed, &header));
    }

    #[test]
    fn nothing_is_signed_with_a_secret_that_is_not_readable() {
        for secret in ["whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64"] {
            let signed = signatures(&[WebhookSecret::new(secret)], &message(now()));
            assert_eq!(signed, None, "{secret}");
        }
        assert_eq!(signatures(&[], &message(now())), None);
    }
}
