//! Codes: only the service can make one, and its keys can be rotated.

use crate::harness::{Dice, World};

/// The alphabet of codes.
const DIGITS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Other characters that a forger may try.
const OTHERS: &[u8] = b"abcILOU-_.!$'*+,;=:@/?#%&<> \"\\";
/// Characters of the signature at a code's end.
const MAC_DIGITS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn none_of_a_thousand_forged_codes_is_accepted() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    let other_sale = world.create_sale("--items 5").await;
    let genuine = world.at(0).collects(&sale, "ann", "1").await;
    let mut dice = Dice::new(4);

    for round in 0..1_000 {
        let forged = loop {
            let forged = forge(&genuine, &sale, &other_sale, round, &mut dice);
            if forged != genuine {
                break forged;
            }
        };
        let answer = world.at(0).purchase(&forged).await;
        assert_eq!(answer.status_and_code(), (404, "code_not_found".to_owned()), "{forged}");
        if round % 50 == 0 {
            let path = format!("/purchases/{}", crate::harness::client::encoded(&forged));
            world.at(0).get(&path).await.refuses(404, "code_not_found");
        }
    }

    world.at(0).purchase(&genuine).await.is(200);
    world.sells_exactly(&sale, 1).await;
    world.every_piece_is_sold_or_buyable(&sale, 5).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_valid_as_long_as_its_key_is_configured() {
    let (old, new) = ("old:b2xkLW9sZC1vbGQtb2xkLW9sZA==", "new:bmV3LW5ldy1uZXctbmV3LW5ldw==");
    let mut world = World::plan(1).set("checkout.code_keys", old).start().await;
    let sale = world.create_sale("--items 5").await;
    let kept = world.at(0).collects(&sale, "ann", "1").await;
    let lost = world.at(0).collects(&sale, "bob", "2").await;

    configure_keys(&mut world, &format!("{new},{old}")).await;
    world.at(0).purchase(&kept).await.is(200);
    let signed_anew = world.at(0).collects(&sale, "cid", "3").await;
    configure_keys(&mut world, new).await;

    world.at(0).purchase(&kept).await.refuses(404, "code_not_found");
    world.at(0).purchase(&lost).await.refuses(404, "code_not_found");
    world.at(0).purchase(&signed_anew).await.is(200);
    // The checkout itself is not lost: another checkout returns its code, signed with the new key.
    world.at(0).buys(&sale, "bob", "2").await;
    world.verify().await;
}

async fn configure_keys(world: &mut World, keys: &str) {
    world.program = world.program.clone().set("checkout.code_keys", keys);
    world.restart().await;
}

/// One way to change a genuine code, which may return it unchanged by chance.
fn forge(genuine: &str, sale: &str, other: &str, round: usize, dice: &mut Dice) -> String {
    let mut bytes = genuine.as_bytes().to_vec();
    let last = bytes.len() - 1;
    let place = dice.below(bytes.len());
    match round % 8 {
        0 => bytes[place] = *dice.pick(DIGITS),
        1 => bytes[place] = *dice.pick(OTHERS),
        2 => bytes.swap(place.min(last - 1), place.min(last - 1) + 1),
        3 => bytes.truncate(place.max(1)),
        4 => bytes.insert(place, *dice.pick(DIGITS)),
        5 => bytes = genuine.replacen(sale, other, 1).into_bytes(),
        6 => {
            // One bit of the signature.
            let place = bytes.len() - 1 - dice.below(MAC_DIGITS);
            let value = DIGITS.iter().position(|digit| *digit == bytes[place]).unwrap();
            bytes[place] = DIGITS[value ^ (1 << dice.below(5))];
        }
        _ => bytes[place].make_ascii_lowercase(),
    }
    String::from_utf8(bytes).unwrap()
}
