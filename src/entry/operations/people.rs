//! People of the organisation. How they sign in is the console's; programs' keys are `access`'s.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::access::people::{NewPerson, PersonChanges, PersonView};
use crate::domain::principal::Right;
use crate::domain::roles::Roles;
use crate::entry::words;

/// The path's id is the person's.
const SPELT: &[(&str, &str)] = &[("id", "person")];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("create_person", create)
            .says(
                "Make a person",
                "Make a person of the organisation. Names are unique: case, width and spaces make \
                 no other name.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/people")
                    .answers(201, "the person")
                    .problems(&[409]),
            ),
        Operation::new("list_people", list)
            .says("List people", "Everybody in the organisation, by name.")
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/people").answers(200, "the people")),
        Operation::new("get_person", read)
            .says("Read a person", "One person, by id or name.")
            .needs(&[Right::ReadSetup])
            .rest(one(Rest::get("/v1/people/{id}")).answers(200, "the person")),
        Operation::new("change_person", change)
            .says(
                "Change a person",
                "Change the fields that are named; null takes one away. Other roles hold within a \
                 second on every node, for the person and for every key that acts for them.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Sets)
            .rest(
                one(Rest::patch("/v1/people/{id}"))
                    .answers(200, "the person")
                    .problems(&[409]),
            )
            .null_matters(),
        Operation::new("create_person_link", link)
            .says(
                "Make a sign-in link",
                "Make a link that signs a person in to the console, once and within 15 minutes.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Acts)
            .rest(
                one(Rest::post("/v1/people/{id}/link"))
                    .answers(201, "the link")
                    .problems(&[503]),
            ),
        Operation::new("delete_person", delete)
            .says(
                "Remove a person",
                "Remove a person, and end every key that acts for them.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Acts)
            .rest(
                one(Rest::delete("/v1/people/{id}"))
                    .answers(200, "that they are removed")
                    .problems(&[409]),
            ),
    ]
}

fn one(rest: Rest) -> Rest {
    rest.spelt(SPELT)
}

/// A link that signs somebody in.
#[derive(Serialize, JsonSchema)]
struct SignInLink {
    /// Opens the console as this person: once, by its button.
    link: String,
    #[schemars(schema_with = "words::time")]
    expires_at: String,
}

async fn link(call: Call, named: NamedPerson) -> Result<Reply<SignInLink>, Trouble> {
    let access = &call.broker.access;
    // Whoever is unknown is so wherever the console is.
    access.person(&call.who, &named.person).await?;
    let origin = call.broker.public_origin().ok_or_else(|| {
        let text = "links need the address of the console (HUNDI_PUBLIC_URL)";
        Trouble::Off(text.to_owned())
    })?;
    let (text, at) = access.link_for(&call.who, &named.person).await?;
    Ok(Reply::created(SignInLink {
        link: format!("{origin}/console/sign-in?link={text}"),
        expires_at: at.to_string(),
    }))
}

/// Somebody in the organisation.
#[derive(Serialize, JsonSchema)]
pub struct Person {
    id: String,
    name: String,
    email: Option<String>,
    #[schemars(schema_with = "words::roles")]
    roles: Roles,
    slack_user: Option<String>,
    version: u64,
    #[schemars(schema_with = "words::time")]
    created_at: String,
    created_by: String,
    #[schemars(schema_with = "words::time")]
    changed_at: String,
    changed_by: String,
}

impl From<PersonView> for Person {
    fn from(view: PersonView) -> Self {
        let person = view.person;
        Self {
            id: view.id.to_string(),
            name: person.name,
            email: person.email,
            roles: person.roles,
            slack_user: person.slack_user,
            version: view.version,
            created_at: person.created_at.to_string(),
            created_by: person.created_by,
            changed_at: person.changed_at.to_string(),
            changed_by: person.changed_by,
        }
    }
}

/// Somebody new.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPersonInput {
    /// As people read it; unique in the organisation.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// Where they are written to.
    #[schemars(length(min = 3, max = 254))]
    email: Option<String>,
    /// What they may do. A person is no agent: an agent's key names who runs it.
    #[schemars(schema_with = "words::roles")]
    roles: Roles,
    /// The member id whose buttons decide as this person.
    #[schemars(
        regex(pattern = "^[UW][A-Z0-9]{1,31}$"),
        title = "a Slack member id, such as U012AB3CD"
    )]
    slack_user: Option<String>,
}

async fn create(call: Call, new: NewPersonInput) -> Result<Reply<Person>, Trouble> {
    let new = NewPerson {
        name: new.name,
        email: new.email,
        roles: new.roles,
        slack_user: new.slack_user,
    };
    let made = call.broker.access.create_person(&call.who, new).await?;
    Ok(Reply::created(made.into()))
}

#[derive(Serialize, JsonSchema)]
struct PeopleList {
    people: Vec<Person>,
}

async fn list(call: Call, _: Nothing) -> Result<PeopleList, Trouble> {
    let people = call.broker.access.people(&call.who).await?;
    let people = people.into_iter().map(Person::from).collect();
    Ok(PeopleList { people })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedPerson {
    /// The person's id, or name.
    person: String,
}

async fn read(call: Call, named: NamedPerson) -> Result<Person, Trouble> {
    let access = &call.broker.access;
    Ok(access.person(&call.who, &named.person).await?.into())
}

/// What is to be different about a person.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangePerson {
    /// The person's id, or name.
    person: String,
    /// Another name.
    #[schemars(length(min = 1, max = 100))]
    name: Option<String>,
    /// Where they are written to; null is nowhere.
    #[serde(default, deserialize_with = "said")]
    #[schemars(length(min = 3, max = 254))]
    email: Option<Option<String>>,
    /// What they may do from now on.
    #[serde(default)]
    #[schemars(schema_with = "words::maybe_roles")]
    roles: Option<Roles>,
    /// The member id whose buttons decide as this person; null is none.
    #[serde(default, deserialize_with = "said")]
    #[schemars(
        regex(pattern = "^[UW][A-Z0-9]{1,31}$"),
        title = "a Slack member id, such as U012AB3CD"
    )]
    slack_user: Option<Option<String>>,
    /// The version that is changed, if it matters.
    version: Option<u64>,
}

/// A field that is there, be it null.
fn said<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(reader).map(Some)
}

async fn change(call: Call, asked: ChangePerson) -> Result<Person, Trouble> {
    let changes = PersonChanges {
        name: asked.name,
        email: asked.email,
        roles: asked.roles,
        slack_user: asked.slack_user,
        version: asked.version,
    };
    let access = &call.broker.access;
    let changed = access.change_person(&call.who, &asked.person, changes);
    Ok(changed.await?.into())
}

#[derive(Serialize, JsonSchema)]
struct Removed {
    id: String,
    name: String,
    deleted: bool,
}

async fn delete(call: Call, named: NamedPerson) -> Result<Removed, Trouble> {
    let access = &call.broker.access;
    let gone = access.remove_person(&call.who, &named.person).await?;
    Ok(Removed {
        id: gone.id.to_string(),
        name: gone.person.name,
        deleted: true,
    })
}
