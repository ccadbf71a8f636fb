//! Tends the tools of upstreams: takes in what they offer, compares each with what an operator
//! accepted, and puts what differs in quarantine.
//!
//! What is accepted is pinned word by word: name, description, schemas and hints. A new, changed
//! or vanished definition cannot be proposed or called until an operator accepts it, here or in
//! another process on the same store. What cannot be compared, because the store does not
//! answer or a pin does not read, is quarantined too. While an upstream does not say what it
//! offers, what was accepted of it is away, not gone.
//!
//! Rules of the operator that match nothing take away the use of all tools of their upstream, until
//! somebody mends them: nobody knows which limit was meant to be there.
//!
//! A turn that is given up half-way loses nothing: what it took in stays to be judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Tools;
use super::catalogue::{Judged, ToolInfo};
use super::listing::{self, Listed, Listings, Whose};
use super::offer::Offer;
use crate::broker::core::Trouble;
use crate::broker::core::documents::version_of;
use crate::domain::document::Unreadable;
use crate::domain::ids::OrgId;
use crate::domain::names::{Names, Wish};
use crate::domain::principal::{Principal, Right};
use crate::domain::rules;
use crate::domain::schema;
use crate::domain::tool::{Executor, Standing, Tool};
use crate::domain::upstream::{Pin, UpstreamRules};
use crate::wire::Wire;

/// How long somebody who asks waits for upstreams to answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// What is said of an upstream that is being asked for the first time.
const NOT_YET: &str = "its tools are not listed yet";
/// Stack of the thread that compiles a schema: several times what the longest way down takes that
/// is let through.
const COMPILING_STACK: usize = 64 * 1024 * 1024;

/// What is known of the upstreams between two turns.
pub(super) struct Tending {
    listings: Listings,
    /// One turn at a time; a second one finds nothing left to do.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The store's count of document writes when pins were last read.
    epoch: Option<u64>,
    /// Which list of each upstream is judged.
    judged: BTreeMap<String, u64>,
    /// What was wrong with each upstream when it was last said.
    told: BTreeMap<String, Vec<String>>,
    /// Definitions that were accepted and are offered no more, read once: by upstream and digest.
    earlier: BTreeMap<(String, String), Arc<Offer>>,
}

/// One pin as it is stored; `Err` if it does not read.
pub(super) struct Stored {
    pub(super) version: u64,
    pub(super) pin: Result<Pin, Unreadable>,
}

type Pins = BTreeMap<String, Stored>;

impl Tending {
    pub(super) fn new<'a>(wire: &dyn Wire, upstreams: impl Iterator<Item = &'a String>) -> Self {
        Self {
            listings: Listings::new(wire, upstreams),
            state: tokio::sync::Mutex::default(),
        }
    }
}

impl Tools {
    /// Lists the upstreams that are new, changed, failed last time or were not asked for a while,
    /// waits for their answers, and compares all anew if a pin may have been written by anyone.
    /// Fails if the store does not answer; then every tool that could not be compared is
    /// quarantined.
    pub async fn tend_tools(&self) -> Result<(), Trouble> {
        self.tend(Whose::All).await
    }

    /// The same, waiting only for the upstream of this tool.
    pub(super) async fn tend_tool(&self, name: &str) -> Result<(), Trouble> {
        let tool = self.catalogue().shared(name);
        match tool.as_ref().map(|tool| &tool.executor) {
            Some(Executor::Upstream { upstream, .. }) => self.tend(Whose::One(upstream)).await,
            Some(Executor::Noop | Executor::Bank | Executor::Registered(_)) => Ok(()),
            None => self.tend(Whose::All).await,
        }
    }

    async fn tend(&self, whose: Whose<'_>) -> Result<(), Trouble> {
        self.start_listings(Some(whose));
        let all = async {
            loop {
                let arrival = self.tending().listings.arrival();
                let waits = self.tending().listings.under_way(whose);
                self.take_in().await?;
                if !waits {
                    return Ok(());
                }
                if self.tending().listings.under_way(whose) {
                    arrival.await;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, all).await {
            Ok(done) => done,
            // The listings go on, and a later turn takes them in.
            Err(_) => self.take_in().await,
        }
    }

    /// One turn of the duty: the same without waiting for anybody.
    pub async fn tend_tools_in_turn(&self) -> Result<(), Trouble> {
        self.start_listings(None);
        let looked = self.look_at_registry().await;
        if let Some(sources) = &self.ports().sources {
            sources.look_after();
        }
        self.take_in().await?;
        looked
    }

    fn start_listings(&self, at_once: Option<Whose<'_>>) {
        let settings = self.settings();
        let (wire, every) = (&self.ports().wire, settings.relist_every);
        self.tending()
            .listings
            .start(wire, &settings.upstreams, every, at_once);
    }

    /// Judges what has arrived since the last turn, and everything if documents have changed.
    async fn take_in(&self) -> Result<(), Trouble> {
        if self.settings().upstreams.is_empty() {
            return Ok(());
        }
        let mut state = self.tending().state.lock().await;
        let epoch = self.ports().store.docs_epoch().await;
        let unchanged = matches!((&epoch, state.epoch), (Ok(now), Some(then)) if *now == then);
        let known = self.tending().listings.known();
        let judged = &state.judged;
        let due: BTreeMap<String, Listed> = known
            .into_iter()
            .filter(|(name, listed)| !unchanged || judged.get(name) != Some(&listed.turn))
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let pins = match &epoch {
            Ok(_) => self.pins().await,
            Err(error) => Err(error.clone().into()),
        };
        let names = match &pins {
            Ok(pins) => {
                let wishes = self.wishes(&mut state, pins, &due);
                self.named(&wishes).await
            }
            Err(trouble) => Err(trouble.clone()),
        };
        let (pins, names) = match (pins, names) {
            (Ok(pins), Ok(names)) => (pins, names),
            (Err(trouble), _) | (_, Err(trouble)) => {
                self.catalogue().doubt_upstreams();
                state.epoch = None;
                return Err(trouble);
            }
        };
        for (upstream, listed) in due {
            self.judge(&mut state, &upstream, &listed, pins.get(&upstream), &names)
                .await;
            state.judged.insert(upstream, listed.turn);
        }
        // Read before the pins were, so that a pin written meanwhile is seen at the next turn.
        state.epoch = epoch.ok();
        Ok(())
    }

    /// Whoever needs a name: what was accepted before what is only offered.
    fn wishes(
        &self,
        state: &mut State,
        pins: &BTreeMap<String, Pins>,
        due: &BTreeMap<String, Listed>,
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (upstream, rules) in &self.settings().upstreams {
            let stored = pins.get(upstream).into_iter().flat_map(BTreeMap::values);
            for pin in stored.filter_map(|stored| stored.pin.as_ref().ok()) {
                wishes.extend(earlier(state, upstream, rules, pin).map(|offer| offer.wish.clone()));
            }
        }
        for listed in due.values() {
            let offers = listed.offers.iter().flat_map(|offers| offers.iter());
            wishes.extend(offers.map(|offer| offer.wish.clone()));
        }
        wishes
    }

    /// Compares one upstream's offers with its pins and puts the result into the catalogue.
    async fn judge(
        &self,
        state: &mut State,
        upstream: &str,
        listed: &Listed,
        pins: Option<&Pins>,
        names: &Names,
    ) {
        let Some(rules) = self.settings().upstreams.get(upstream) else {
            return;
        };
        let none = Pins::new();
        let pins = pins.unwrap_or(&none);
        let offers = listed.offers.as_deref().map_or(&[][..], Vec::as_slice);
        let offered = listing::names(offers);
        let vain = match listed.offers {
            Some(_) => {
                let definitions = offers.iter().map(|offer| &offer.definition);
                rules::unmatched(upstream, rules, definitions)
            }
            None => Vec::new(),
        };
        let mut complaints = vain.clone();
        if let Some(why) = &listed.trouble {
            complaints.push(format!("its tools cannot be listed: {why}"));
        } else if listed.offers.is_none() {
            complaints.push(NOT_YET.to_owned());
        }
        let trusting = rules.trust_on_first_use && pins.is_empty() && listed.trouble.is_none();
        let (mut shelf, mut unnamed) = (Vec::new(), 0);
        let gone = pins
            .iter()
            .filter(|(name, _)| !offered.contains(name.as_str()));
        let gone = gone.filter_map(|(_, stored)| stored.pin.as_ref().ok());
        let gone: Vec<Arc<Offer>> = gone
            .filter_map(|pin| earlier(state, upstream, rules, pin))
            .collect();
        let all = offers.iter().map(|offer| (offer, true));
        for (offer, is_offered) in all.chain(gone.iter().map(|offer| (offer, false))) {
            let stored = pins.get(&offer.definition.name);
            let Some(name) = names.of(&offer.wish) else {
                unnamed += 1;
                continue;
            };
            let standing = standing(listed, offer, is_offered, stored);
            let judged = Judged {
                tool: Arc::new(Tool {
                    name: name.clone(),
                    hold: offer.tool.hold || self.settings().always_held.contains(name.as_str()),
                    standing,
                    ..offer.tool.clone()
                }),
                offer: offer.clone(),
                is_offered,
                pin: stored.and_then(|stored| stored.pin.as_ref().ok()).cloned(),
                problem: vain.first().cloned().or_else(|| offer.problem.clone()),
            };
            if standing == Standing::Changed {
                self.report(upstream, &judged, stored).await;
            }
            shelf.push(judged);
        }
        if trusting {
            self.trust(upstream, &mut shelf).await;
        }
        for judged in &mut shelf {
            self.make_ready(judged).await;
            complaints.extend(slip(judged, rules).filter(|_| vain.is_empty()));
        }
        if unnamed > 0 {
            complaints.push(format!(
                "it has called its tools so many names that {unnamed} of them get none here"
            ));
        }
        tell(state, upstream, &complaints);
        self.catalogue().shelve(upstream, shelf, complaints);
    }

    /// Compiles the schema of a tool that may be used, unless that was done before; nothing else
    /// is compiled.
    async fn make_ready(&self, judged: &mut Judged) {
        let unusable = |judged: &mut Judged| {
            if matches!(judged.tool.standing, Standing::Accepted | Standing::Away) {
                judged.tool = Arc::new(Tool {
                    standing: Standing::Unusable,
                    ..Tool::clone(&judged.tool)
                });
            }
        };
        if judged.problem.is_some() {
            return unusable(judged);
        }
        if judged.tool.standing != Standing::Accepted {
            return;
        }
        if let Some(same) = self.catalogue().same(&judged.tool) {
            judged.tool = same;
        } else if let Err(why) = compiled(judged.tool.clone()).await {
            judged.problem = Some(format!("its schema cannot be used: {why}"));
            unusable(judged);
        }
    }

    /// Every pin, by upstream and tool.
    async fn pins(&self) -> Result<BTreeMap<String, Pins>, Trouble> {
        let org = OrgId::default();
        let found = self.documents::<Pin>(Some(&org)).await?;
        let mut pins: BTreeMap<String, Pins> = BTreeMap::new();
        for read in found {
            let version = version_of(Some(&read));
            let (key, pin) = match read {
                Ok(stored) => (stored.key, Ok(stored.value)),
                Err(unreadable) => (unreadable.doc.key.clone(), Err(unreadable)),
            };
            let Some((upstream, tool)) = key.id.split_once('/') else {
                continue;
            };
            let stored = Stored { version, pin };
            let shelf = pins.entry(upstream.to_owned()).or_default();
            shelf.insert(tool.to_owned(), stored);
        }
        Ok(pins)
    }

    /// The tools: every one with all there is to know for those who keep or read the catalogue, and
    /// for agents those that they may use, without what was accepted when.
    pub async fn tools(&self, who: &Principal) -> Result<Vec<ToolInfo>, Trouble> {
        let infos = self.catalogue().infos(&who.org);
        let everything = who.may(Right::ReadSetup);
        let (tools, usable) = (self.catalogue().tools(&who.org), self.usable_by(who).await?);
        let shown = infos.iter().filter(|(name, _)| {
            everything || tools.get(*name).is_some_and(|tool| usable.has(tool))
        });
        let shown = shown.map(|(_, info)| info);
        Ok(shown
            .map(|info| ToolInfo {
                accepted_by: info.accepted_by.clone().filter(|_| everything),
                ..info.clone()
            })
            .collect())
    }
}

/// Compiles a tool's schema away from the runtime, with room for the deepest that is let through.
pub(super) async fn compiled(tool: Arc<Tool>) -> Result<(), String> {
    let work = tokio::task::spawn_blocking(move || {
        let thread = std::thread::Builder::new().stack_size(COMPILING_STACK);
        let running = thread.spawn(move || schema::prepare(&tool));
        let done = running.map(std::thread::JoinHandle::join);
        match done {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err("compiling it failed".to_owned()),
        }
    });
    let done = work.await;
    done.unwrap_or_else(|_| Err("compiling it failed".to_owned()))
}

/// Where a tool stands, but for problems of its own.
fn standing(listed: &Listed, offer: &Offer, is_offered: bool, stored: Option<&Stored>) -> Standing {
    let silent = listed.trouble.is_some() || listed.offers.is_none();
    match stored.map(|stored| &stored.pin) {
        None => Standing::New,
        Some(Ok(pin)) if is_offered && pin.digest != offer.digest => Standing::Changed,
        Some(Ok(_)) if silent => Standing::Away,
        Some(Ok(_)) if is_offered => Standing::Accepted,
        Some(Ok(_)) => Standing::Gone,
        Some(Err(_)) => Standing::Changed,
    }
}

/// What was accepted, read under the rules as they are now.
fn earlier(
    state: &mut State,
    upstream: &str,
    rules: &UpstreamRules,
    pin: &Pin,
) -> Option<Arc<Offer>> {
    let key = (upstream.to_owned(), pin.digest.clone());
    if let Some(known) = state.earlier.get(&key) {
        return Some(known.clone());
    }
    let offer = Offer::read(upstream, pin.definition.clone(), rules, None)?;
    let offer = Arc::new(offer);
    state.earlier.insert(key, offer.clone());
    Some(offer)
}

/// What an operator has to mend about a tool that was accepted or that a rule speaks of.
fn slip(judged: &Judged, rules: &UpstreamRules) -> Option<String> {
    let definition = &judged.offer.definition;
    let is_known = judged.pin.is_some() || rules.tools.contains_key(&definition.name);
    let problem = judged.problem.as_ref().filter(|_| is_known)?;
    Some(format!("`{}`: {problem}", judged.tool.name))
}

/// Logs what is wrong with an upstream, once.
fn tell(state: &mut State, upstream: &str, complaints: &[String]) {
    let before = state.told.get(upstream).map_or(&[][..], Vec::as_slice);
    for complaint in complaints {
        if !before.contains(complaint) && complaint != NOT_YET {
            tracing::warn!(%upstream, "{complaint}");
        }
    }
    let was_told = before.iter().any(|complaint| complaint != NOT_YET);
    if was_told && complaints.is_empty() {
        tracing::info!(%upstream, "nothing is wrong with its tools any more");
    }
    state.told.insert(upstream.to_owned(), complaints.to_vec());
}
