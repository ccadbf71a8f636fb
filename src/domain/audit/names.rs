//! Every kind of record and every decision that there is, each with its one spelling. Nothing else
//! spells one.
//!
//! A log outlives the version that wrote it, and what is in it is hashed word by word: so what is
//! read back may be a word that this version does not know, and stays that word.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A closed list of words.
pub trait Listed: Copy + Eq + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The one spelling. Never changes once released.
    fn name(self) -> &'static str;
}

macro_rules! listed {
    ($(#[$about:meta])* $list:ident { $($(#[$what:meta])* $word:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $list {
            $($(#[$what])* $word,)*
        }

        impl $list {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];
            /// Their spellings.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The one spelling. Never changes once released.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$word => $name,)*
                }
            }
        }

        impl Listed for $list {
            const ALL: &'static [Self] = $list::ALL;

            fn name(self) -> &'static str {
                $list::name(self)
            }
        }

        impl From<$list> for Recorded<$list> {
            fn from(word: $list) -> Self {
                Recorded::Known(word)
            }
        }
    };
}

listed! {
    /// What happened.
    RecordKind {
        /// A proposal was decided by governance.
        Proposed = "proposed",
        /// A person agreed; the decision says whether it was the last one needed.
        Approved = "approved",
        /// A person said no.
        Rejected = "rejected",
        /// It was taken back.
        Cancelled = "cancelled",
        /// Its time ran out.
        Expired = "expired",
        /// It got another token.
        Renewed = "renewed",
        /// Its nonce was burned and its intent written.
        Claimed = "claimed",
        /// The provider did it.
        Executed = "executed",
        /// The provider did not.
        Failed = "failed",
        /// The provider's answer was lost.
        InDoubt = "in_doubt",
        /// The provider took it back.
        Reversed = "reversed",
        /// What the provider had taken on has arrived.
        Arrived = "arrived",
        /// Evidence contradicts a settled outcome.
        Contradicted = "contradicted",
        /// A proposal was refused before it was one.
        ProposeRefused = "propose_refused",
        /// A commit was refused.
        CommitRefused = "commit_refused",
        /// A press in Slack was refused.
        PressRefused = "press_refused",
        /// So many refusals of one principal in a minute.
        RefusalsSummed = "refusals_summed",
        /// A policy was written.
        PolicySet = "policy_set",
        /// A policy was taken away.
        PolicyDeleted = "policy_deleted",
        /// A scope was frozen.
        Frozen = "frozen",
        /// A freeze was lifted.
        Unfrozen = "unfrozen",
        /// A payee was registered.
        PayeeAdded = "payee_added",
        /// A registered payee was replaced.
        PayeeChanged = "payee_changed",
        /// A payee was taken out of the registry.
        PayeeRemoved = "payee_removed",
        /// The usual prompt of an agent with a tool was forgotten.
        BaselineReset = "baseline_reset",
        /// An API key was made.
        KeyCreated = "key_created",
        /// An API key was ended.
        KeyRevoked = "key_revoked",
        /// A one-time link that signs somebody in was made.
        LinkCreated = "link_created",
        /// Somebody signed in to the console.
        SignedIn = "signed_in",
        /// Somebody signed out of the console.
        SignedOut = "signed_out",
        /// An organisation was made.
        OrgCreated = "org_created",
        /// A person was made.
        PersonCreated = "person_created",
        /// A person was changed.
        PersonChanged = "person_changed",
        /// A person was removed.
        PersonDeleted = "person_deleted",
        /// Somebody added a passkey.
        PasskeyAdded = "passkey_added",
        /// Somebody took a passkey away.
        PasskeyRemoved = "passkey_removed",
        /// A token key was made.
        TokenKeyCreated = "token_key_created",
        /// A token key seals no more.
        TokenKeyRotated = "token_key_rotated",
        /// What is kept secret was put under the newest master key.
        MasterKeyRotated = "master_key_rotated",
        /// A token key opens no more.
        TokenKeyRetired = "token_key_retired",
        /// A source was registered.
        SourceCreated = "source_created",
        /// A registered source was replaced.
        SourceChanged = "source_changed",
        /// A source was taken away.
        SourceDeleted = "source_deleted",
        /// A source's database gets its table of effects.
        SourcePrepared = "source_prepared",
        /// A tool was registered.
        ToolCreated = "tool_created",
        /// A registered tool was replaced.
        ToolChanged = "tool_changed",
        /// A tool was taken away.
        ToolDeleted = "tool_deleted",
        /// A low-risk tool was called.
        ToolInvoked = "tool_invoked",
        /// A low-risk call, or a proposal, was refused by access rules.
        AccessDenied = "access_denied",
        /// An access rule was made.
        RuleCreated = "rule_created",
        /// An access rule was replaced.
        RuleChanged = "rule_changed",
        /// An access rule was taken away.
        RuleDeleted = "rule_deleted",
        /// A virtual server was made.
        ServerCreated = "server_created",
        /// A virtual server was replaced.
        ServerChanged = "server_changed",
        /// A virtual server was taken away, with its keys.
        ServerDeleted = "server_deleted",
        /// A key of a server was made.
        ServerKeyCreated = "server_key_created",
        /// A key of a server got another text.
        ServerKeyRotated = "server_key_rotated",
        /// A key of a server was ended.
        ServerKeyRevoked = "server_key_revoked",
        /// A tool's definition was accepted.
        ToolAccepted = "tool_accepted",
        /// A tool's definition changed.
        ToolQuarantined = "tool_quarantined",
        /// The bank told something.
        Webhook = "webhook",
        /// What the bank told asks for nothing.
        WebhookSkipped = "webhook_skipped",
        /// What the bank told could not be worked off.
        WebhookFailed = "webhook_failed",
        /// So many webhooks with a false signature.
        WebhookForged = "webhook_forged",
        /// So many presses with a false signature.
        SlackForged = "slack_forged",
        /// What the bank told does not fit our payout.
        EvidenceRefused = "evidence_refused",
        /// A payout that others made was decided, or could not be.
        ExternalPayout = "external_payout",
        /// A request to a model was taken on.
        RequestAccepted = "request_accepted",
        /// A request to a model was turned away.
        RequestRefused = "request_refused",
        /// A request to a model was taken back while somebody was answering it.
        RequestCancelled = "request_cancelled",
        /// A request to a model ended.
        RequestEnded = "request_ended",
        /// What was said in a request is gone.
        RequestErased = "request_erased",
        /// The queue of requests was paused, or goes on.
        QueuePaused = "queue_paused",
        /// A provider of models was registered.
        ProviderCreated = "provider_created",
        /// A registered provider was replaced.
        ProviderChanged = "provider_changed",
        /// A registered provider was taken away.
        ProviderDeleted = "provider_deleted",
        /// What is held against a provider was forgotten.
        ProviderReset = "provider_reset",
        /// A document that can be found was written.
        DocumentStored = "document_stored",
        /// A document that can be found was deleted.
        DocumentDeleted = "document_deleted",
        /// A table of prices was imported.
        PricesImported = "prices_imported",
        /// A payout carries the reference of a proposal that did not make it.
        BorrowedReference = "borrowed_reference",
    }
}

listed! {
    /// What was decided.
    Decision {
        /// It may go on.
        Approved = "APPROVED",
        /// It may not.
        Rejected = "REJECTED",
        /// A person has to say.
        Held = "HELD",
        /// Nothing had to be decided.
        Skipped = "SKIPPED",
    }
}

/// A word of the log: one of the list, or one that another version wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recorded<T> {
    /// One that we know.
    Known(T),
    /// One that we do not, as it was written.
    Other(Box<str>),
}

impl<T: Listed> Recorded<T> {
    /// The word with this spelling.
    pub fn read(text: &str) -> Self {
        let known = T::ALL.iter().copied().find(|word| word.name() == text);
        known.map_or_else(|| Recorded::Other(text.into()), Recorded::Known)
    }

    /// Its spelling.
    pub fn name(&self) -> &str {
        match self {
            Recorded::Known(word) => word.name(),
            Recorded::Other(text) => text,
        }
    }

    /// The word, if we know it.
    pub fn known(&self) -> Option<T> {
        match self {
            Recorded::Known(word) => Some(*word),
            Recorded::Other(_) => None,
        }
    }
}

impl<T: Listed> PartialEq<T> for Recorded<T> {
    fn eq(&self, word: &T) -> bool {
        self.known() == Some(*word)
    }
}

/// For whoever holds the spelling against the contract.
impl<T: Listed> PartialEq<str> for Recorded<T> {
    fn eq(&self, text: &str) -> bool {
        self.name() == text
    }
}

impl<T: Listed> PartialEq<&str> for Recorded<T> {
    fn eq(&self, text: &&str) -> bool {
        self.name() == *text
    }
}

impl<T: Listed> fmt::Display for Recorded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<T: Listed> Serialize for Recorded<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de, T: Listed> Deserialize<'de> for Recorded<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::read(&String::deserialize(from)?))
    }
}

/// A decision, or that nothing was decided, which is the empty text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decided(Option<Recorded<Decision>>);

impl Decided {
    /// The decision with this spelling.
    pub fn read(text: &str) -> Self {
        Self((!text.is_empty()).then(|| Recorded::read(text)))
    }

    /// Its spelling; empty where nothing was decided.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", Recorded::name)
    }

    /// Whether nothing was decided.
    pub fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// The decision, if there was one that we know.
    pub fn known(&self) -> Option<Decision> {
        self.0.as_ref().and_then(Recorded::known)
    }
}

impl PartialEq<&str> for Decided {
    fn eq(&self, text: &&str) -> bool {
        self.name() == *text
    }
}

impl PartialEq<Decision> for Decided {
    fn eq(&self, decision: &Decision) -> bool {
        self.known() == Some(*decision)
    }
}

impl From<Option<Decision>> for Decided {
    fn from(decision: Option<Decision>) -> Self {
        Self(decision.map(Recorded::Known))
    }
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Self {
        Some(decision).into()
    }
}

impl Serialize for Decided {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Decided {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::read(&String::deserialize(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_a_spelling_of_its_own_and_reads_back() {
        fn check<T: Listed + fmt::Debug>() {
            let names: std::collections::BTreeSet<_> =
                T::ALL.iter().map(|word| word.name()).collect();
            assert_eq!(names.len(), T::ALL.len());
            for word in T::ALL {
                let read = Recorded::<T>::read(word.name());
                assert_eq!(read.known(), Some(*word));
                assert_eq!(read.name(), word.name());
            }
        }
        check::<RecordKind>();
        check::<Decision>();
    }

    #[test]
    fn a_word_of_another_version_stays_what_it_is() {
        let kind: Recorded<RecordKind> = serde_json::from_str("\"moved_house\"").unwrap();
        assert_eq!((kind.known(), kind.name()), (None, "moved_house"));
        assert_eq!(serde_json::to_string(&kind).unwrap(), "\"moved_house\"");
        let decided: Decided = serde_json::from_str("\"POSTPONED\"").unwrap();
        assert_eq!((decided.known(), decided.is_nothing()), (None, false));
        assert_eq!(serde_json::to_string(&decided).unwrap(), "\"POSTPONED\"");
        assert!(Decided::read("").is_nothing());
        assert_eq!(serde_json::to_string(&Decided::default()).unwrap(), "\"\"");
    }
}
