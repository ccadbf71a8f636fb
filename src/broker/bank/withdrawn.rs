//! Tells the maker of a payout that we have withdrawn it; the settling change left word of it.

use super::Bank;
use crate::broker::core::Trouble;
use crate::broker::pay::withdrawn::Withdrawn;
use crate::connector::razorpay;

impl Bank {
    /// Works off what withdrawals left to be told. Returns how many there were.
    pub async fn work_withdrawn(&self) -> Result<usize, Trouble> {
        let left = self.documents::<Withdrawn>(None).await?;
        let count = left.len();
        for news in left {
            let done = match news {
                Ok(news) => {
                    self.tell_withdrawn(&news.value).await?;
                    news.remove()
                }
                // What nobody can read, nobody can tell.
                Err(unreadable) => unreadable.doc.key.removed(unreadable.doc.version),
            };
            match self.write(vec![done]).await {
                // Another node told it, too; telling it twice is telling it once.
                Ok(()) | Err(Trouble::Changed) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(count)
    }

    async fn tell_withdrawn(&self, news: &Withdrawn) -> Result<(), Trouble> {
        let Ok(evidence) = razorpay::evidence(&news.payout) else {
            return Ok(());
        };
        self.about_its_maker(&evidence, &news.payout, &news.tool)
            .await
            .map(drop)
    }
}
