//! Hides what masks name, in the data of a result or the document of a preview or draft.
//!
//! What each `do` makes of each kind of value:
//!
//! | | text | number | true, false | null | list, object |
//! | --- | --- | --- | --- | --- | --- |
//! | `last4` | `****` and its last four characters; `****` under eight | an integer as its digits, any other `****` | `****` | stays | `****` |
//! | `hash` | `h:` and hex | `h:` and hex | `h:` and hex | stays | `h:` and hex of the whole |
//! | `redact` | `(hidden)` | `(hidden)` | `(hidden)` | `(hidden)` | `(hidden)` |
//! | `null` | null | null | null | null | null |
//! | `remove` | is not there | is not there | is not there | is not there | is not there |
//!
//! - All paths are followed in the data as it came; what one mask hides does not lead another astray.
//! - Where two masks name one value, the one that hides more wins ([`MaskDo`] is in that order).
//!   Where one names a value and another something around it, the outer one hides the inner whole.
//! - `remove` takes a member out of its object and an entry out of its list, so that the later ones
//!   move up. The whole data, removed, is null.
//! - A hash is keyed for each organisation, so that nobody can try values out and two organisations
//!   cannot compare theirs. Equal values have equal hashes: `1` and `1.0` are one number, `1` and
//!   `"1"` are two values.
//!
//! A path leads nowhere in a text. So where masks are in force, text of the source that is not the
//! data itself (an error, a log line) is not shown at all ([`of_source`]): a database that quotes
//! the row it stumbled over would tell what the masks hide. And text that is the data ([`of_text`])
//! is masked as the JSON that it is, or not shown. The broker's own words stay.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::access::{Mask, MaskDo};
use crate::domain::canonical::Canonical;
use crate::domain::ids::{OrgId, hex};

/// What stands for a value that is hidden whole.
pub const HIDDEN: &str = "(hidden)";
/// What stands for text of a source where masks are in force.
pub const HIDDEN_TEXT: &str =
    "(hidden: masks are in force for this tool, and text cannot be masked)";
/// What stands for the hidden part under `last4`.
const STARS: &str = "****";
/// Fewest characters of which `last4` shows some.
const MIN_SHOWN: usize = 8;
/// Characters that `last4` shows.
const SHOWN: usize = 4;
/// Bytes of a hash that are shown; enough that two values never meet.
const HASH_BYTES: usize = 16;
/// Most different places that are told; a hostile upstream could make up as many as it has bytes.
const MAX_PLACES: usize = 100;
/// Longest name that is told in a place, in bytes.
const MAX_NAME: usize = 64;

/// What hashes of one organisation are keyed with.
pub struct HashKey(Zeroizing<[u8; 32]>);

impl HashKey {
    /// From a secret that stays the same, for one organisation.
    pub fn of(secret: &[u8], org: &OrgId) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        if let Some(mut mac) = keyed(secret) {
            mac.update(b"hundi/mask/v1\0");
            mac.update(org.as_str().as_bytes());
            key.copy_from_slice(&mac.finalize().into_bytes());
        }
        Self(key)
    }
}

/// What was hidden.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Masked {
    /// The places, as `$.rows[*].email`, sorted. A name that is not shown in the result is `*`,
    /// unless the mask names it.
    pub places: Vec<String>,
    /// How many values.
    pub values: usize,
    /// How many masks named nothing.
    pub unmatched: usize,
}

/// All masks, each path once: the most hiding wins. Sorted by path.
pub fn united<'m>(masks: impl Iterator<Item = &'m Mask>) -> Vec<&'m Mask> {
    let mut by_path: BTreeMap<&str, &Mask> = BTreeMap::new();
    for mask in masks {
        let known = by_path.entry(mask.path.as_str()).or_insert(mask);
        if known.how < mask.how {
            *known = mask;
        }
    }
    by_path.into_values().collect()
}

/// Hides in `data` what the masks name.
pub fn apply(data: &mut Value, masks: &[&Mask], key: &HashKey) -> Masked {
    let (targets, unmatched) = targets(data, masks);
    let mut hiding = Hiding {
        masks,
        targets,
        mac: keyed(key.0.as_slice()),
        places: Vec::new(),
        values: 0,
    };
    if !hiding.targets.is_empty() && hiding.hide(data, None) == Fate::Goes {
        *data = Value::Null;
    }
    let mut places: Vec<String> = hiding.places.iter().map(Place::to_string).collect();
    places.sort();
    Masked {
        places,
        values: hiding.values,
        unmatched,
    }
}

/// The data of a result that came as text: masked where it is a JSON object or list, else not shown.
pub fn of_text(text: &str, masks: &[&Mask], key: &HashKey) -> (String, Masked) {
    if masks.is_empty() {
        return (text.to_owned(), Masked::default());
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut data @ (Value::Object(_) | Value::Array(_))) => {
            let masked = apply(&mut data, masks, key);
            (data.to_string(), masked)
        }
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | Err(_) => {
            let masked = Masked {
                places: vec!["$".to_owned()],
                values: 1,
                unmatched: 0,
            };
            (HIDDEN_TEXT.to_owned(), masked)
        }
    }
}

/// Text of a source that is not the data: shown only where nothing is masked.
pub fn of_source<'t>(text: &'t str, masks: &[&Mask]) -> &'t str {
    match masks.is_empty() {
        true => text,
        false => HIDDEN_TEXT,
    }
}

/// Where a value stands in memory while nothing moves: the name of one value of the data.
type Address = usize;

fn address(value: &Value) -> Address {
    std::ptr::from_ref(value).addr()
}

/// A value to be hidden, and the mask that says how.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Target {
    at: Address,
    how: MaskDo,
    mask: usize,
}

/// Every value that a mask names, once, by address; and how many masks name none.
fn targets(data: &Value, masks: &[&Mask]) -> (Vec<Target>, usize) {
    let (mut targets, mut unmatched) = (Vec::new(), 0);
    for (index, mask) in masks.iter().enumerate() {
        let values = mask.path.values(data);
        unmatched += usize::from(values.is_empty());
        targets.extend(values.into_iter().map(|value| Target {
            at: address(value),
            how: mask.how,
            mask: index,
        }));
    }
    // The most hiding of each comes first and stays.
    targets.sort_unstable_by_key(|target| (target.at, std::cmp::Reverse(target.how), target.mask));
    targets.dedup_by_key(|target| target.at);
    (targets, unmatched)
}

/// Whether a value stays where it is, perhaps as another.
#[derive(PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
}

/// One walk over the data. Nothing moves in memory until all below a value is done: members that go
/// are taken out after it.
struct Hiding<'m> {
    masks: &'m [&'m Mask],
    targets: Vec<Target>,
    mac: Option<Hmac<Sha256>>,
    places: Vec<Place>,
    values: usize,
}

impl Hiding<'_> {
    fn hide(&mut self, value: &mut Value, trail: Option<&Trail<'_>>) -> Fate {
        if let Some(target) = self.target(value) {
            return self.hide_whole(value, target, trail);
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            Value::Array(items) => self.hide_in_list(items, trail),
            Value::Object(members) => self.hide_in_object(members, trail),
        }
        Fate::Stays
    }

    fn target(&self, value: &Value) -> Option<Target> {
        let at = address(value);
        let found = self.targets.binary_search_by_key(&at, |target| target.at);
        found
            .ok()
            .and_then(|index| self.targets.get(index))
            .copied()
    }

    fn hide_in_list(&mut self, items: &mut Vec<Value>, parent: Option<&Trail<'_>>) {
        let trail = Trail {
            parent,
            step: Step::Each,
        };
        let fates = items.iter_mut().map(|item| self.hide(item, Some(&trail)));
        let fates: Vec<Fate> = fates.collect();
        if fates.contains(&Fate::Goes) {
            let mut fates = fates.into_iter();
            items.retain(|_| fates.next() != Some(Fate::Goes));
        }
    }

    fn hide_in_object(
        &mut self,
        members: &mut serde_json::Map<String, Value>,
        parent: Option<&Trail<'_>>,
    ) {
        let mut gone = Vec::new();
        for (name, member) in members.iter_mut() {
            let trail = Trail {
                parent,
                step: Step::Member(name),
            };
            if self.hide(member, Some(&trail)) == Fate::Goes {
                gone.push(name.clone());
            }
        }
        for name in gone {
            members.remove(&name);
        }
    }

    fn hide_whole(&mut self, value: &mut Value, target: Target, trail: Option<&Trail<'_>>) -> Fate {
        self.values += 1;
        self.tell(target, trail);
        match target.how {
            MaskDo::Remove => return Fate::Goes,
            MaskDo::Null => *value = Value::Null,
            MaskDo::Redact => *value = HIDDEN.into(),
            MaskDo::Hash | MaskDo::Last4 if value.is_null() => {}
            MaskDo::Hash => *value = self.hash(value).into(),
            MaskDo::Last4 => *value = last4(value).into(),
        }
        Fate::Stays
    }

    fn hash(&self, value: &Value) -> String {
        let Some(mut mac) = self.mac.clone() else {
            return HIDDEN.to_owned();
        };
        mac.update(Canonical::of(value).as_str().as_bytes());
        let digest = mac.finalize().into_bytes();
        format!("h:{}", hex(digest.get(..HASH_BYTES).unwrap_or_default()))
    }

    /// Remembers the place, unless it is known.
    fn tell(&mut self, target: Target, trail: Option<&Trail<'_>>) {
        if self.places.len() >= MAX_PLACES {
            return;
        }
        let trail = trail.map(|trail| Trail {
            step: self.told(target, trail.step),
            ..*trail
        });
        if !self.places.iter().any(|place| place.is(trail.as_ref())) {
            self.places.push(Place::of(trail.as_ref()));
        }
    }

    /// The name of a member that is not there any more may be what was to be hidden.
    fn told<'v>(&self, target: Target, last: Step<'v>) -> Step<'v> {
        let path = self
            .masks
            .get(target.mask)
            .map_or("", |mask| mask.path.as_str());
        match last {
            Step::Member(name) if target.how == MaskDo::Remove && !path.contains(name) => Step::Any,
            Step::Member(_) | Step::Any | Step::Each => last,
        }
    }
}

/// A step from a value to one inside it.
#[derive(Clone, Copy)]
enum Step<'v> {
    /// The member of this name.
    Member(&'v str),
    /// A member whose name is not told.
    Any,
    /// An entry of a list.
    Each,
}

impl Step<'_> {
    /// A name as long as a text tells more than a place.
    fn told(self) -> Self {
        match self {
            Step::Member(name) if name.len() > MAX_NAME => Step::Any,
            Step::Member(_) | Step::Any | Step::Each => self,
        }
    }
}

/// How the walk came to where it is.
struct Trail<'v> {
    parent: Option<&'v Trail<'v>>,
    step: Step<'v>,
}

impl<'v> Trail<'v> {
    /// The steps to here, from here outwards.
    fn outwards<'t>(from: Option<&'t Self>) -> impl Iterator<Item = Step<'v>> + use<'t, 'v> {
        std::iter::successors(from, |trail| trail.parent).map(|trail| trail.step.told())
    }
}

/// A place that was told: its steps, outwards.
struct Place(Vec<Known>);

enum Known {
    Member(Box<str>),
    Any,
    Each,
}

impl Place {
    fn of(trail: Option<&Trail<'_>>) -> Self {
        let known = Trail::outwards(trail).map(|step| match step {
            Step::Member(name) => Known::Member(name.into()),
            Step::Any => Known::Any,
            Step::Each => Known::Each,
        });
        Self(known.collect())
    }

    fn is(&self, trail: Option<&Trail<'_>>) -> bool {
        let mut steps = Trail::outwards(trail);
        let same = |known: &Known| match (known, steps.next()) {
            (Known::Member(known), Some(Step::Member(name))) => **known == *name,
            (Known::Any, Some(Step::Any)) | (Known::Each, Some(Step::Each)) => true,
            (Known::Member(_) | Known::Any | Known::Each, _) => false,
        };
        self.0.iter().all(same) && steps.next().is_none()
    }
}

/// As a path: short where the names allow it, quoted where not, `*` where they are not told.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().rev().try_for_each(|step| match step {
            Known::Each => f.write_str("[*]"),
            Known::Any => f.write_str(".*"),
            Known::Member(name) if is_short(name) => write!(f, ".{name}"),
            Known::Member(name) => quoted(name, f),
        })
    }
}

fn is_short(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let more = |c: char| first(c) || c.is_ascii_digit();
    name.starts_with(first) && name.chars().all(more)
}

/// RFC 9535, 2.7: in single quotes, with what would end or hide it escaped.
fn quoted(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("['")?;
    for c in name.chars() {
        match c {
            '\'' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_str("']")
}

fn last4(value: &Value) -> String {
    let shown = match value {
        Value::String(text) => Some(end_of(text)),
        Value::Number(number) if !number.is_f64() => Some(end_of(&number.to_string())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    format!("{STARS}{}", shown.unwrap_or_default())
}

/// The last four characters, if they are not more than half of them.
fn end_of(text: &str) -> String {
    let len = text.chars().count();
    match len < MIN_SHOWN {
        true => String::new(),
        false => text.chars().skip(len - SHOWN).collect(),
    }
}

fn keyed(key: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::<Sha256>::new_from_slice(key).ok()
}

#[cfg(test)]
mod tests;
