//! Several roles at once: whoever has them may do what any of them may. Which do not go together is
//! said here as well ([`Roles::agree`]).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::principal::{Right, Role};

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles(u16);

impl Roles {
    /// Every role.
    pub fn all() -> Self {
        Role::ALL.into_iter().collect()
    }

    /// Whether it is one of them.
    pub fn has(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// Whether one of them is also one of these.
    pub fn share(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The role, if there is exactly one.
    pub fn only(self) -> Option<Role> {
        let mut roles = self.iter();
        roles.next().filter(|_| roles.next().is_none())
    }

    /// Whether each of them is one of these.
    pub fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Those that are also among these.
    pub fn both(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Whether one principal may have them all. There has to be one. An agent decides on nothing,
    /// nor on what governs it: its policy, the tools it calls, the rules for them. Reading is no
    /// deciding, so it may be an auditor.
    pub fn agree(self) -> Result<(), &'static str> {
        let others = [Role::Agent, Role::Auditor].into_iter().collect();
        match () {
            () if self.is_empty() => Err("at least one role is needed"),
            () if self.has(Role::Agent) && !self.within(others) => Err(
                "an agent decides on nothing and keeps nothing that governs it: besides `agent`, \
                 one principal may only be `auditor`",
            ),
            () => Ok(()),
        }
    }

    /// Each of them, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// Whether one of them may do `right`.
    pub fn may(self, right: Right) -> bool {
        self.iter().any(|role| role.may(right))
    }
}

fn bit(role: Role) -> u16 {
    let place = Role::ALL.iter().position(|known| *known == role);
    place.map_or(0, |place| 1 << place)
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self(bit(role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | bit(role)))
    }
}

/// Their names, with commas: `agent` or `developer, steward`.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, role) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", role.name())?;
        }
        Ok(())
    }
}

impl Roles {
    /// Them with the noun, for a sentence: `the role agent`, `the roles developer, steward`.
    pub fn told(self) -> String {
        match self.iter().count() {
            0 => "somebody without a role".to_owned(),
            1 => format!("the role {self}"),
            _ => format!("the roles {self}"),
        }
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

/// A list of roles, each once; or one alone, as they were written when there was one.
impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            One(Role),
            Some(Vec<Role>),
        }
        let wrong = || {
            let known = Role::ALL.map(Role::name).join(", ");
            de::Error::custom(format_args!("a list of roles, each once: {known}"))
        };
        let roles = match Spelling::deserialize(from).map_err(|_| wrong())? {
            Spelling::One(role) => vec![role],
            Spelling::Some(roles) => roles,
        };
        let set = Self::from_iter(roles.iter().copied());
        match set.iter().count() == roles.len() {
            true => Ok(set),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_has_several_roles_may_do_what_any_of_them_may() {
        let both = Roles::from_iter([Role::Approver, Role::Agent]);
        assert!(both.may(Right::Decide) && both.may(Right::Propose) && !both.may(Right::Operate));
        assert_eq!(both.to_string(), "agent, approver");
        assert!(both.share(Role::Agent.into()) && !both.share(Role::Admin.into()));
        assert!(
            !Roles::default().may(Right::ReadOwn),
            "nobody without a role may anything"
        );
        assert!(Role::ALL.into_iter().all(|role| Roles::all().has(role)));
    }

    #[test]
    fn an_agent_keeps_nothing_that_governs_it() {
        for role in Role::ALL {
            let with = Roles::from_iter([Role::Agent, role]);
            let fits = matches!(role, Role::Agent | Role::Auditor);
            assert_eq!(with.agree().is_ok(), fits, "agent and {}", role.name());
            assert!(Roles::from_iter([Role::Auditor, role]).agree().is_ok());
        }
        assert!(Roles::default().agree().is_err());
        assert!(Roles::all().agree().is_err());
    }

    #[test]
    fn sets_are_compared() {
        let (two, one) = (
            Roles::from_iter([Role::Developer, Role::Steward]),
            Roles::from(Role::Steward),
        );
        assert!(one.within(two) && !two.within(one) && Roles::default().within(one));
        assert_eq!((one.only(), two.only()), (Some(Role::Steward), None));
        assert_eq!(Roles::default().only(), None);
        assert_eq!(
            (two.both(one), one.both(Role::Admin.into())),
            (one, Roles::default())
        );
        assert_eq!(two.told(), "the roles developer, steward");
    }

    #[test]
    fn one_role_may_stand_alone() {
        let read = |value| serde_json::from_value::<Roles>(value);
        assert_eq!(read(json!("admin")).unwrap(), Role::Admin.into());
        let both = read(json!(["operator", "auditor"])).unwrap();
        assert_eq!(json!(both), json!(["auditor", "operator"]));
        assert_eq!(read(json!([])).unwrap(), Roles::default());
        for bad in [
            json!("boss"),
            json!(["admin", "admin"]),
            json!({"admin": true}),
            json!(null),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
