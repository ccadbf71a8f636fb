//! One definition that an upstream offers, read once: the tool that it would be under the
//! operator's rules, and what keeps it from being one.
//!
//! Reading bounds it. What is too large to be looked at is cut to a stub that can be shown and
//! never accepted; its neighbours are none the wiser.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::names::Wish;
use crate::domain::schema;
use crate::domain::tool::{Risk, Standing, Tool};
use crate::domain::upstream::{Definition, UpstreamRules};
use crate::wire::Offered;

/// Longest name of a tool at its upstream, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Longest description, in bytes.
const MAX_WORDS_BYTES: usize = 64 * 1024;

/// A definition and what follows from it and from the rules.
pub(super) struct Offer {
    /// What it says.
    pub definition: Definition,
    /// Its digest.
    pub digest: String,
    /// What it would like to be called.
    pub wish: Wish,
    /// The tool it would be, new to everybody.
    pub tool: Tool,
    /// The operator said low, the upstream's hints say otherwise.
    pub raised: bool,
    /// Why it cannot be used even if it were accepted.
    pub problem: Option<String>,
}

impl Offer {
    /// Reads a whole list. Tools that the rules leave out are not in it; of two definitions under
    /// one name only a stub is, because nobody could say which one was accepted.
    pub(super) fn read_all(
        upstream: &str,
        offered: Vec<Offered>,
        rules: &UpstreamRules,
    ) -> Vec<Arc<Offer>> {
        let mut by_name: BTreeMap<String, Offered> = BTreeMap::new();
        for mut one in offered {
            if let Some(earlier) = by_name.get(&one.name)
                && *earlier != one
            {
                one.odd = Some("it is offered twice, and not alike".to_owned());
            }
            by_name.insert(one.name.clone(), one);
        }
        let offers = by_name.into_values().filter_map(|one| {
            let (definition, odd) = bounded(one);
            Offer::read(upstream, definition, rules, odd)
        });
        offers.map(Arc::new).collect()
    }

    /// Reads one definition; `None` if the rules leave it out.
    pub(super) fn read(
        upstream: &str,
        definition: Definition,
        rules: &UpstreamRules,
        odd: Option<String>,
    ) -> Option<Offer> {
        let (tool, problem) = definition.tool(upstream, rules, Standing::New)?;
        let wish = definition.wish(upstream, rules)?;
        let word = rules.rule(&definition.name).and_then(|rule| rule.risk);
        Some(Offer {
            digest: definition.digest(),
            raised: word == Some(Risk::Low) && tool.risk == Risk::High,
            wish,
            tool,
            problem: odd.or(problem),
            definition,
        })
    }
}

/// The definition within its bounds, and what is wrong with it.
fn bounded(offered: Offered) -> (Definition, Option<String>) {
    let mut odd = offered.odd;
    let mut complain = |why: String| {
        odd.get_or_insert(why);
    };
    let mut schemas = [
        ("its schema", Some(offered.input_schema)),
        ("its schema of results", offered.output_schema),
        ("what it says about itself", Some(offered.annotations)),
    ];
    for (what, schema) in &mut schemas {
        if let Some(why) = schema
            .as_ref()
            .and_then(|schema| schema::readable(schema).err())
        {
            complain(format!("{what} cannot be used: {why}"));
            *schema = None;
        }
    }
    let [(_, input), (_, output), (_, annotations)] = schemas;
    let mut description = offered.description;
    if description.len() > MAX_WORDS_BYTES {
        complain(format!(
            "its description is longer than {MAX_WORDS_BYTES} bytes"
        ));
        cut(&mut description, MAX_WORDS_BYTES);
    }
    let mut name = offered.name;
    if name.len() > MAX_NAME_BYTES {
        complain(format!("its name is longer than {MAX_NAME_BYTES} bytes"));
        cut(&mut name, MAX_NAME_BYTES);
    }
    let definition = Definition {
        name,
        description,
        input_schema: input.unwrap_or(Value::Null),
        output_schema: output,
        annotations: annotations.unwrap_or(Value::Null),
    };
    (definition, odd)
}

fn cut(text: &mut String, most: usize) {
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn offered(name: &str) -> Offered {
        Offered {
            name: name.into(),
            description: "d".into(),
            input_schema: json!({"type": "object"}),
            output_schema: None,
            annotations: Value::Null,
            odd: None,
        }
    }

    #[test]
    fn one_odd_definition_does_not_hide_its_neighbours() {
        let mut nested = json!({});
        for _ in 0..100 {
            nested = json!({"if": nested});
        }
        let odd = [
            Offered {
                input_schema: json!(null),
                ..offered("none")
            },
            Offered {
                input_schema: nested.clone(),
                ..offered("deep")
            },
            Offered {
                output_schema: Some(nested.clone()),
                ..offered("deep_out")
            },
            Offered {
                annotations: nested,
                ..offered("deep_hints")
            },
            Offered {
                description: "é".repeat(MAX_WORDS_BYTES),
                ..offered("words")
            },
            offered(&"n".repeat(300)),
            Offered {
                description: "other".into(),
                ..offered("twice")
            },
            Offered {
                odd: Some("no schema".into()),
                ..offered("said")
            },
        ];
        let good = [offered("twice"), offered("good"), offered("good")];
        let list = good.into_iter().chain(odd).collect();
        let offers = Offer::read_all("u", list, &UpstreamRules::default());
        assert_eq!(offers.len(), 9);
        for offer in offers {
            let good = offer.definition.name == "good";
            assert_eq!(
                offer.problem.is_none(),
                good,
                "{}: {:?}",
                offer.definition.name,
                offer.problem
            );
        }
    }
}
