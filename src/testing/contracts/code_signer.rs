//! What every [`CodeSigner`] guarantees.

use std::sync::Arc;

use crate::application::ports::CodeSigner;
use crate::domain::code::{CodeClaim, MAC_BYTES};
use crate::testing::builders::{attempt_id, sale_id};

/// Signers with keys of their own.
type Signers = fn(key: u16) -> Arc<dyn CodeSigner>;

fn its_own_codes_are_genuine_also_when_read_from_their_text(signers: Signers) {
    let signer = signers(1);

    let code = signer.sign(sale_id(7), attempt_id(1_234_567));

    assert_eq!((code.sale, code.attempt), (sale_id(7), attempt_id(1_234_567)));
    let read = CodeClaim::parse(&code.to_string()).unwrap();
    assert!(signer.is_genuine(&read));
}

fn a_code_is_genuine_at_every_instance_with_its_key_and_at_no_other(signers: Signers) {
    let code = signers(1).sign(sale_id(7), attempt_id(3));

    assert_eq!([1, 1, 2].map(|key| signers(key).is_genuine(&code)), [true, true, false]);
}

fn a_code_with_anything_changed_is_forged(signers: Signers) {
    let signer = signers(1);
    let code = signer.sign(sale_id(7), attempt_id(3));
    let other = signer.sign(sale_id(8), attempt_id(3));
    let mut forged = vec![
        CodeClaim { sale: other.sale, ..code },
        CodeClaim { attempt: attempt_id(4), ..code },
        CodeClaim { mac: other.mac, ..code },
        CodeClaim { mac: [0; MAC_BYTES], ..code },
    ];
    for place in 0..MAC_BYTES {
        let mut mac = code.mac;
        mac[place] ^= 1;
        forged.push(CodeClaim { mac, ..code });
    }

    assert!(!forged.iter().any(|code| signer.is_genuine(code)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CodeKey;
    use crate::infrastructure::signing::HmacSigner;
    use crate::testing::fakes::FakeSigner;

    fn hmac(key: u16) -> Arc<dyn CodeSigner> {
        let secret = format!("{key:024}").into();
        let key = CodeKey { id: format!("key {key}"), secret };
        Arc::new(HmacSigner::new(&[key]).unwrap())
    }

    fn fake(key: u16) -> Arc<dyn CodeSigner> {
        Arc::new(FakeSigner { key })
    }

    #[test]
    fn its_own_codes_are_genuine() {
        its_own_codes_are_genuine_also_when_read_from_their_text(fake);
        its_own_codes_are_genuine_also_when_read_from_their_text(hmac);
    }

    #[test]
    fn a_code_belongs_to_its_key() {
        a_code_is_genuine_at_every_instance_with_its_key_and_at_no_other(fake);
        a_code_is_genuine_at_every_instance_with_its_key_and_at_no_other(hmac);
    }

    #[test]
    fn a_changed_code_is_forged() {
        a_code_with_anything_changed_is_forged(fake);
        a_code_with_anything_changed_is_forged(hmac);
    }
}
