//! Tells the maker of a payout that we have withdrawn it; the settling change left word of it.

use super::Bank;
use crate::broker::core::Trouble;
use crate::broker::pay::withdrawn::{WITHDRAWN, Withdrawn};
use crate::connector::razorpay;
use crate::domain::change::{Doc, DocWrite};

impl Bank {
    /// Works off what withdrawals left to be told. Returns how many there were.
    pub async fn work_withdrawn(&self) -> Result<usize, Trouble> {
        let docs = self.ports().store.docs(WITHDRAWN, None).await?;
        for doc in &docs {
            self.tell_withdrawn(doc).await?;
            let done = DocWrite {
                key: doc.key.clone(),
                expect: Some(doc.version),
                body: None,
            };
            match self.write(vec![done]).await {
                // Another node told it, too; telling it twice is telling it once.
                Ok(()) | Err(Trouble::Changed) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(docs.len())
    }

    async fn tell_withdrawn(&self, doc: &Doc) -> Result<(), Trouble> {
        let Ok(news) = serde_json::from_value::<Withdrawn>(doc.body.clone()) else {
            tracing::error!(id = %doc.key.id, "what a withdrawal left to be told does not read back");
            return Ok(());
        };
        let Ok(evidence) = razorpay::evidence(&news.payout) else {
            return Ok(());
        };
        self.about_its_maker(&evidence, &news.payout, &news.tool)
            .await
            .map(drop)
    }
}
