//! What instances know of keys, and for how long.

#![cfg(test)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::application::ports::{
    Cursor, CursorPage, KEY_HASH_BYTES, KeyHash, KeyPosition, KeySalt, KeysInUse, NewApiKey,
    NewKeyRefusal, RevokedKey,
};
use crate::domain::api_key::{KEY_ID_BYTES, KEY_SECRET_BYTES, KeyName, Scope, Scopes};
use crate::testing::builders::{at, unavailable};
use crate::testing::fakes::FakeClock;

const ID: KeyId = KeyId::new([1; KEY_ID_BYTES]);
const SALT: KeySalt = [2; 16];
const SECRET: [u8; KEY_SECRET_BYTES] = [3; KEY_SECRET_BYTES];

/// One key, until it is revoked.
#[derive(Default)]
struct Store {
    is_revoked: AtomicBool,
    is_away: AtomicBool,
    reads: AtomicUsize,
    uses: AtomicUsize,
}

#[async_trait]
impl ApiKeyStore for Store {
    async fn add(
        &self,
        _: &NewApiKey,
        _: &str,
    ) -> Result<Result<ApiKey, NewKeyRefusal>, PortError> {
        Err(unavailable())
    }

    async fn revoke(&self, _: KeyId, _: &str) -> Result<Option<RevokedKey>, PortError> {
        Err(unavailable())
    }

    async fn list(
        &self,
        _: Cursor<KeyPosition>,
    ) -> Result<CursorPage<ApiKey, KeyPosition>, PortError> {
        Err(unavailable())
    }

    async fn in_use(&self) -> Result<KeysInUse, PortError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.is_away.load(Ordering::Relaxed) {
            return Err(unavailable());
        }
        let key = ApiKey {
            id: ID,
            name: KeyName::parse("ci").unwrap(),
            scopes: Scopes::new([Scope::Read]).unwrap(),
            created_by: "eve".to_owned(),
            created_at: at(0),
            expires_at: Some(at(10)),
            revoked_at: None,
            last_used_at: None,
        };
        let stored = StoredKey { key, salt: SALT, hash: [0; KEY_HASH_BYTES] };
        let is_there = !self.is_revoked.load(Ordering::Relaxed);
        Ok(KeysInUse { as_of: at(0), keys: Vec::from_iter(is_there.then_some(stored)) })
    }

    async fn used(&self, _: KeyId) -> Result<(), PortError> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// One secret for all.
struct Secrets;

impl KeySecrets for Secrets {
    fn random(&self) -> Option<(KeyId, KeySalt)> {
        None
    }

    fn text(&self, id: KeyId, _: &KeySalt) -> KeyText {
        KeyText::new(id, &SECRET)
    }

    fn hash(&self, _: KeyId, _: &KeySalt) -> KeyHash {
        [0; KEY_HASH_BYTES]
    }

    fn is_genuine(&self, presented: &str, stored: &StoredKey) -> bool {
        self.text(stored.key.id, &stored.salt).reveal() == presented
    }
}

struct World {
    store: Arc<Store>,
    clock: Arc<FakeClock>,
    keys: ApiKeys,
}

impl World {
    fn new() -> Self {
        let (store, clock) = (Arc::<Store>::default(), FakeClock::at(at(0)));
        let keys = ApiKeys::new(
            Arc::<Store>::clone(&store),
            Arc::new(Secrets),
            Arc::<FakeClock>::clone(&clock),
        );
        Self { store, clock, keys }
    }

    async fn verify(&self, secret: [u8; KEY_SECRET_BYTES]) -> Result<Verified, PortError> {
        self.keys.verify(KeyText::new(ID, &secret).reveal()).await
    }

    async fn is_accepted(&self) -> bool {
        matches!(self.verify(SECRET).await, Ok(Verified::Accepted(_)))
    }

    fn reads(&self) -> usize {
        self.store.reads.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_key_is_verified_from_memory_until_that_is_old() {
    let world = World::new();

    for _ in 0..100 {
        assert!(world.is_accepted().await);
    }
    assert_eq!(world.reads(), 1);
    world.clock.advance(REFRESH_AGE);
    assert!(world.is_accepted().await);
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn a_new_key_is_known_at_once_and_unknown_ones_cost_few_reads() {
    let world = World::new();
    world.store.is_revoked.store(true, Ordering::Relaxed);
    assert!(!world.is_accepted().await);

    // As if it had not been there before.
    world.store.is_revoked.store(false, Ordering::Relaxed);
    world.clock.advance(NEW_KEY_SETTLES_IN);

    assert!(world.is_accepted().await);
    let reads = world.reads();
    let other = KeyText::new(KeyId::new([9; KEY_ID_BYTES]), &SECRET);
    for _ in 0..100 {
        assert_eq!(world.keys.verify(other.reveal()).await.unwrap(), Verified::Unknown);
    }
    assert_eq!(world.reads(), reads);
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() {
    let world = World::new();
    assert!(world.is_accepted().await);

    world.store.is_revoked.store(true, Ordering::Relaxed);
    world.clock.advance(MAX_AGE);

    assert_eq!(world.verify(SECRET).await.unwrap(), Verified::Unknown);
    assert!(MAX_AGE < Duration::from_secs(1));
}

#[tokio::test]
async fn nothing_older_than_a_second_is_believed_while_the_store_is_away() {
    let world = World::new();
    assert!(world.is_accepted().await);
    world.store.is_away.store(true, Ordering::Relaxed);

    world.clock.advance(REFRESH_AGE);
    assert!(world.is_accepted().await);
    world.clock.advance(MAX_AGE.saturating_sub(REFRESH_AGE));
    assert!(world.verify(SECRET).await.is_err());
}

#[tokio::test]
async fn a_key_that_ends_while_it_is_in_memory_has_expired() {
    let world = World::new();
    world.clock.advance(Duration::from_secs(9));
    // The read says that it is second 0: the key ends ten seconds later.
    assert!(world.is_accepted().await);
    world.store.is_away.store(true, Ordering::Relaxed);
    {
        let mut known = world.keys.known.lock().unwrap();
        let Known { began, keys, .. } = Arc::try_unwrap(known.take().unwrap()).ok().unwrap();
        *known = Some(Arc::new(Known { began, as_of: at(10), keys }));
    }

    assert_eq!(world.verify(SECRET).await.unwrap(), Verified::Expired);
    assert_eq!(world.keys.signing_key(&ID.to_string()).await.unwrap(), None);
}

#[tokio::test]
async fn a_forged_secret_and_another_form_are_refused() {
    let world = World::new();

    assert_eq!(world.verify([4; KEY_SECRET_BYTES]).await.unwrap(), Verified::Unknown);
    let reads = world.reads();
    for text in ["", "fsk_", "Bearer x", &"x".repeat(100_000)] {
        assert_eq!(world.keys.verify(text).await.unwrap(), Verified::Unknown);
    }
    assert_eq!(world.reads(), reads);
}

#[tokio::test]
async fn the_use_of_a_key_is_recorded_once_a_minute() {
    let world = World::new();
    for _ in 0..3 {
        world.verify(SECRET).await.unwrap();
    }
    assert_eq!(world.store.uses.load(Ordering::Relaxed), 1);

    world.clock.advance(RECORD_INTERVAL);
    world.verify(SECRET).await.unwrap();

    assert_eq!(world.store.uses.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_key_signs_with_the_text_that_its_holder_has() {
    let world = World::new();

    let (key, text) = world.keys.signing_key(&ID.to_string()).await.unwrap().unwrap();

    assert_eq!((key.id, text.reveal()), (ID, KeyText::new(ID, &SECRET).reveal()));
    assert_eq!(world.keys.signing_key("key_0").await.unwrap(), None);
    world.store.is_revoked.store(true, Ordering::Relaxed);
    world.clock.advance(MAX_AGE);
    assert_eq!(world.keys.signing_key(&ID.to_string()).await.unwrap(), None);
}
