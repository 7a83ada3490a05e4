//! Codes: signs and verifies them, in the epochs that this instance knows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::history::History;
use super::ports::{Clock, CodeSigner, EpochReader, PortError};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, SaleId};

/// Signs and verifies codes.
pub struct Codes {
    ports: CodesPorts,
    /// When the last successful reading of the epochs began, in monotonic time. One runs at a time.
    read_at: Mutex<Option<Duration>>,
}

/// What [`Codes`] needs.
pub struct CodesPorts {
    /// Has the keys.
    pub signer: Arc<dyn CodeSigner>,
    /// The epochs that this instance knows.
    pub history: Arc<History>,
    /// Reads those that it does not know yet.
    pub epochs: Arc<dyn EpochReader>,
    /// Shows whether a reading began after a request arrived.
    pub clock: Arc<dyn Clock>,
}

impl Codes {
    /// On these ports.
    #[must_use]
    pub fn new(ports: CodesPorts) -> Self {
        Self { ports, read_at: Mutex::default() }
    }

    /// The code of an attempt. Without I/O, unless another instance created the attempt in an epoch that this one does not know: then
    /// the epochs are read first, because an epoch is part of its codes.
    pub async fn sign(&self, sale: SaleId, attempt: AttemptId) -> Result<CodeClaim, PortError> {
        if self.may_lack_epoch_of(attempt) {
            Box::pin(self.read_epochs()).await?;
        }
        Ok(self.ports.signer.sign(sale, attempt))
    }

    /// Whether this installation has issued the code. Without I/O, unless the code may be of an epoch that another instance has begun:
    /// then the epochs are read first, because a code of an unknown epoch looks forged.
    pub async fn is_genuine(&self, claim: &CodeClaim) -> Result<bool, PortError> {
        let CodesPorts { signer, history, .. } = &self.ports;
        let epoch = history.id();
        if signer.is_genuine(claim) {
            return Ok(true);
        }
        if self.may_lack_epoch_of(claim.attempt) {
            Box::pin(self.read_epochs()).await?;
        } else if history.is_still(epoch) {
            return Ok(false);
        }
        // The epochs have changed since the code was looked at.
        Ok(signer.is_genuine(claim))
    }

    fn may_lack_epoch_of(&self, attempt: AttemptId) -> bool {
        self.ports.history.epochs().is_some_and(|known| known.may_lack_epoch_of(attempt))
    }

    /// Concurrent callers share a reading that began after they arrived, so forged codes cause one at a time.
    async fn read_epochs(&self) -> Result<(), PortError> {
        let arrived_at = self.ports.clock.monotonic();
        let mut read_at = self.read_at.lock().await;
        if read_at.is_none_or(|read_at| read_at < arrived_at) {
            let began_at = self.ports.clock.monotonic();
            self.ports.epochs.read().await?;
            *read_at = Some(began_at);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{MockCodeSigner, MockEpochReader};
    use crate::domain::epoch::{Epoch, Epochs};
    use crate::testing::builders::{at, attempt_id, sale_id};
    use crate::testing::fakes::{FakeClock, FakeSigner};

    /// Numbers of an epoch.
    const ATTEMPTS: i64 = 1_000;

    fn history(numbers: i64) -> Epochs {
        let epoch = |number| Epoch {
            number,
            id: number,
            first_attempt: (number - 1) * ATTEMPTS,
            end_attempt: number * ATTEMPTS,
        };
        Epochs::new((1..=numbers).map(epoch).collect()).unwrap()
    }

    /// A signer for which a code is genuine once the second epoch is known.
    fn codes(reader: impl FnOnce(Arc<History>) -> MockEpochReader) -> Codes {
        let known = Arc::<History>::default();
        known.adopt(history(1));
        let mut signer = MockCodeSigner::new();
        let seen = Arc::clone(&known);
        signer.expect_is_genuine().returning(move |_| seen.is_still(2));
        Codes::new(CodesPorts {
            signer: Arc::new(signer),
            epochs: Arc::new(reader(Arc::clone(&known))),
            history: known,
            clock: FakeClock::at(at(0)),
        })
    }

    fn code(attempt: i64) -> CodeClaim {
        FakeSigner { key: 1 }.sign(sale_id(1), attempt_id(attempt))
    }

    #[tokio::test]
    async fn a_code_of_an_epoch_that_another_instance_began_is_genuine() {
        let codes = codes(|known| {
            let mut reader = MockEpochReader::new();
            reader.expect_read().once().returning(move || {
                known.adopt(history(2));
                Ok(())
            });
            reader
        });

        assert!(codes.is_genuine(&code(ATTEMPTS)).await.unwrap());
    }

    #[tokio::test]
    async fn the_code_of_an_attempt_that_another_instance_created_in_a_new_epoch_belongs_to_that_epoch()
     {
        let known = Arc::<History>::default();
        known.adopt(history(1));
        let (mut signer, mut reader) = (MockCodeSigner::new(), MockEpochReader::new());
        let (seen, read) = (Arc::clone(&known), Arc::clone(&known));
        signer
            .expect_sign()
            .withf(move |_, _| seen.is_still(2))
            .once()
            .returning(|sale, attempt| FakeSigner { key: 1 }.sign(sale, attempt));
        reader.expect_read().once().returning(move || {
            read.adopt(history(2));
            Ok(())
        });
        let codes = Codes::new(CodesPorts {
            signer: Arc::new(signer),
            epochs: Arc::new(reader),
            history: known,
            clock: FakeClock::at(at(0)),
        });

        let claim = codes.sign(sale_id(1), attempt_id(ATTEMPTS)).await.unwrap();

        assert_eq!(claim, code(ATTEMPTS));
    }

    #[tokio::test]
    async fn a_code_is_looked_at_again_when_the_epochs_changed_meanwhile() {
        let known = Arc::<History>::default();
        known.adopt(history(1));
        let (mut signer, seen) = (MockCodeSigner::new(), Arc::clone(&known));
        signer.expect_is_genuine().returning(move |_| {
            let is_genuine = seen.is_still(2);
            seen.adopt(history(2));
            is_genuine
        });
        let codes = Codes::new(CodesPorts {
            signer: Arc::new(signer),
            epochs: Arc::new(MockEpochReader::new()),
            history: known,
            clock: FakeClock::at(at(0)),
        });

        assert!(codes.is_genuine(&code(ATTEMPTS)).await.unwrap());
    }

    #[tokio::test]
    async fn a_forged_code_of_a_known_epoch_costs_no_reading() {
        let codes = codes(|_| MockEpochReader::new());

        assert!(!codes.is_genuine(&code(1)).await.unwrap());
    }

    #[tokio::test]
    async fn a_code_of_an_unknown_epoch_is_not_refused_while_the_epochs_cannot_be_read() {
        let codes = codes(|_| {
            let mut reader = MockEpochReader::new();
            reader.expect_read().returning(|| Err(PortError::Overloaded("the epochs")));
            reader
        });

        assert!(codes.is_genuine(&code(ATTEMPTS)).await.is_err());
    }
}
