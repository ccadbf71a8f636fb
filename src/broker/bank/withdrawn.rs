//! Tells the maker of a payout that we have withdrawn it; the settling change left word of it.

use super::Bank;
use crate::broker::core::Trouble;
use crate::broker::pay::withdrawn::Withdrawn;
use crate::connector::registry;

impl Bank {
    /// Works off what withdrawals left to be told. Returns how many were told; fails if one
    /// could not be.
    pub async fn work_withdrawn(&self) -> Result<usize, Trouble> {
        let left = self.documents::<Withdrawn>(None).await?;
        let mut told = 0;
        let mut untold = None;
        // One that does not read, or cannot be told yet, stays and holds up no other.
        for news in left.into_iter().flatten() {
            if let Err(trouble) = self.tell_withdrawn(&news.value).await {
                untold = Some(trouble);
                continue;
            }
            match self.write(vec![news.remove()]).await {
                // Another node told it, too; telling it twice is telling it once.
                Ok(()) | Err(Trouble::Changed) => told += 1,
                Err(trouble) => untold = Some(trouble),
            }
        }
        untold.map_or(Ok(told), Err)
    }

    async fn tell_withdrawn(&self, news: &Withdrawn) -> Result<(), Trouble> {
        let Ok(evidence) = registry::bank().evidence(&news.payout) else {
            return Ok(());
        };
        self.about_its_maker(&evidence, &news.payout, &news.tool)
            .await
            .map(drop)
    }
}
