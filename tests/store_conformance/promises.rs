//! The promises themselves.

use super::Place;
use super::given::*;

pub async fn what_was_written_reads_back(place: &dyn Place) {
    let store = place.open().await;
    let new = proposal(1);
    store
        .apply(admit_with(&new, reserve(10_000, 10_000)))
        .await
        .unwrap();
    assert_eq!(store.proposal(new.id()).await.unwrap(), Some(new.clone()));
    let (change, claimed) = claim(&new);
    store.apply(change).await.unwrap();
    assert_eq!(
        store.proposal(new.id()).await.unwrap(),
        Some(claimed.clone())
    );
    let (change, settled) = confirm(&claimed, 10_000);
    store.apply(change).await.unwrap();
    assert_eq!(store.proposal(new.id()).await.unwrap(), Some(settled));
    println!("{}", place.dump().await);
}
