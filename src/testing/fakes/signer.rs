//! A signature without a secret: it detects changed codes and nothing else.

use crate::application::ports::CodeSigner;
use crate::domain::code::{CodeClaim, KeyTag, MAC_BYTES};
use crate::domain::ids::{AttemptId, SaleId};

/// Signs with the number of the key.
pub(crate) struct FakeSigner {
    pub(crate) key: u16,
}

impl CodeSigner for FakeSigner {
    fn sign(&self, sale: SaleId, attempt: AttemptId) -> CodeClaim {
        let mut mac = [0; MAC_BYTES];
        mac[..8].copy_from_slice(&(sale.get() ^ attempt.get().rotate_left(17)).to_be_bytes());
        mac[8..].copy_from_slice(&self.key.to_be_bytes());
        CodeClaim { sale, attempt, tag: KeyTag::from_bits(self.key), mac }
    }

    fn is_genuine(&self, claim: &CodeClaim) -> bool {
        *claim == self.sign(claim.sale, claim.attempt)
    }
}
