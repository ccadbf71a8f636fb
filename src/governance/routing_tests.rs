//! Routing as a table: what is known, who is asked, and why not the others.

use proptest::prelude::*;

use super::*;

fn candidate(name: &str) -> Candidate {
    let (provider, model) = name.split_once('/').unwrap();
    Candidate {
        provider: provider.to_owned(),
        model: model.to_owned(),
        local: provider == "here",
        weight: 1,
        cost: Cost::Nanos(1_000),
        latency_ms: Some(100),
        failed: 0,
        health: Health::Closed,
        full: false,
        over_rate_ms: None,
    }
}

fn wish() -> Wish<'static> {
    Wish {
        task: "chat",
        model: None,
        hint: None,
        prefer_local: false,
        budget_nanos: None,
        draw: 0,
        tried: &[],
    }
}

/// `a/x:score b/y:lost`, in the order of the decision.
fn told(wish: &Wish<'_>, candidates: &[Candidate], by: Option<&Route>) -> String {
    let decision = route(wish, candidates, by);
    let name = |index: usize| format!("{}/{}", candidates[index].provider, candidates[index].model);
    let order = decision
        .order
        .iter()
        .map(|chosen| format!("{}:{}", name(chosen.index), chosen.because.name()));
    let lost = decision
        .lost
        .iter()
        .map(|(index, why)| format!("{}!{}", name(*index), why.name()));
    order.chain(lost).collect::<Vec<_>>().join(" ")
}

fn some() -> [Candidate; 3] {
    [candidate("a/x"), candidate("b/y"), candidate("here/x")]
}

type Change = fn(&mut Wish<'static>, &mut [Candidate; 3]);

#[test]
#[rustfmt::skip]
fn who_is_asked_and_why_not_the_others() {
    let cases: &[(&str, Change, &str)] = &[
        ("alike",       |_, _| {},                                     "a/x:score b/y:score here/x:score"),
        ("dearer",      |_, c| c[0].cost = Cost::Nanos(1_500),         "b/y:score here/x:score a/x:score"),
        ("free",        |_, c| c[1].cost = Cost::Nanos(0),             "b/y:score a/x:score here/x:score"),
        ("slower",      |_, c| c[0].latency_ms = Some(300),            "b/y:score here/x:score a/x:score"),
        ("unmeasured",  |_, c| c[0].latency_ms = None,                 "a/x:score b/y:score here/x:score"),
        ("failing",     |_, c| c[0].failed = 200,                      "b/y:score here/x:score a/x:score"),
        ("weighty",     |_, c| c[2].weight = 5,                        "here/x:score a/x:score b/y:score"),
        ("no price",    |_, c| c[0].cost = Cost::Refused,              "b/y:score here/x:score a/x!no_price"),
        ("any price",   |_, c| c[0].cost = Cost::Unknown,              "b/y:score here/x:score a/x:score"),
        ("unwanted",    |_, c| c[0].weight = 0,                        "b/y:score here/x:score a/x!not_wanted"),
        ("open",        |_, c| c[0].health = Health::Open,             "b/y:score here/x:score a/x!open"),
        ("half open",   |_, c| c[0].health = Health::HalfOpen,         "b/y:score here/x:score a/x:score"),
        ("cooling",     |_, c| c[0].health = Health::Cooling { for_ms: 5 }, "b/y:score here/x:score a/x!cooling"),
        ("full",        |_, c| c[0].full = true,                       "b/y:score here/x:score a/x!full"),
        ("too often",   |_, c| c[0].over_rate_ms = Some(9),            "b/y:score here/x:score a/x!over_rate"),
        ("too dear",    |w, c| { w.budget_nanos = Some(1_000); c[0].cost = Cost::Nanos(1_001); }, "b/y:score here/x:score a/x!over_budget"),
        ("just enough", |w, _| w.budget_nanos = Some(1_000),           "a/x:score b/y:score here/x:score"),
        ("tried",       |w, _| w.tried = &[("a", "x")],                "b/y:score here/x:score a/x!tried"),
        ("named",       |w, _| w.model = Some("x"),                    "a/x:score here/x:score b/y!other_model"),
        ("auto",        |w, _| w.model = Some("auto"),                 "a/x:score b/y:score here/x:score"),
        ("unknown",     |w, _| w.model = Some("z"),                    "a/x!other_model b/y!other_model here/x!other_model"),
        ("named, 0",    |w, c| { w.model = Some("y"); c[1].weight = 0; }, "b/y:score a/x!other_model here/x!other_model"),
        ("hint",        |w, _| w.hint = Some("b"),                     "b/y:hint a/x:score here/x:score"),
        ("hint, open",  |w, c| { w.hint = Some("b"); c[1].health = Health::Open; }, "a/x:score here/x:score b/y!open"),
        ("hint, other", |w, _| { w.hint = Some("b"); w.model = Some("x"); }, "a/x:score here/x:score b/y!other_model"),
        ("local",       |w, _| w.prefer_local = true,                  "here/x:local a/x:score b/y:score"),
        ("both",        |w, _| { w.hint = Some("b"); w.prefer_local = true; }, "b/y:hint here/x:local a/x:score"),
    ];
    for (what, change, expected) in cases {
        let (mut wish, mut candidates) = (wish(), some());
        change(&mut wish, &mut candidates);
        assert_eq!(told(&wish, &candidates, None), *expected, "{what}");
    }
}

#[test]
fn a_route_orders_the_models_of_its_task() {
    let route = Route::Models(vec!["y".into(), "x".into(), "y".into()]);
    assert_eq!(
        told(&wish(), &some(), Some(&route)),
        "b/y:route a/x:route here/x:route"
    );
    let route = Route::Models(vec!["y".into()]);
    assert_eq!(
        told(&wish(), &some(), Some(&route)),
        "b/y:route a/x!not_routed here/x!not_routed"
    );
    let named = Wish {
        model: Some("x"),
        ..wish()
    };
    assert_eq!(
        told(&named, &some(), Some(&route)),
        "a/x:score here/x:score b/y!other_model"
    );
}

#[test]
fn shares_fall_as_the_draw_says() {
    let route = Route::Weights([("x".into(), 3), ("y".into(), 1), ("z".into(), 0)].into());
    let first = |draw| told(&Wish { draw, ..wish() }, &some(), Some(&route));
    for (draw, model) in [
        (0, "a/x"),
        (2, "a/x"),
        (3, "b/y"),
        (4, "a/x"),
        (7, "b/y"),
        (u64::MAX, "b/y"),
    ] {
        assert!(first(draw).starts_with(model), "{draw}: {}", first(draw));
    }
    let none = Route::Weights(BTreeMap::new());
    assert!(told(&wish(), &some(), Some(&none)).starts_with("a/x!not_routed"));
}

#[test]
fn where_nobody_can_be_asked_it_says_when() {
    let mut candidates = some();
    candidates[0].health = Health::Cooling { for_ms: 700 };
    candidates[1].over_rate_ms = Some(300);
    candidates[2].health = Health::Open;
    assert_eq!(route(&wish(), &candidates, None).again_in_ms, Some(300));
    candidates[2].health = Health::Closed;
    assert_eq!(route(&wish(), &candidates, None).again_in_ms, None);
    assert_eq!(route(&wish(), &[], None), Decision::default());
}

prop_compose! {
    fn any_candidate()(
        provider in "[abc]", model in "[xy]", local in any::<bool>(), weight in 0_u32..4,
        cost in prop_oneof![any::<u64>().prop_map(Cost::Nanos), Just(Cost::Unknown), Just(Cost::Refused)],
        latency_ms in prop::option::of(any::<u64>()), failed in any::<u32>(),
        health in prop_oneof![Just(Health::Closed), Just(Health::Open), Just(Health::HalfOpen), Just(Health::Cooling { for_ms: 1 })],
        full in any::<bool>(), over_rate_ms in prop::option::of(any::<u64>()),
    ) -> Candidate {
        Candidate { provider, model, local, weight, cost, latency_ms, failed, health, full, over_rate_ms }
    }
}

proptest! {
    /// Whatever is known: everybody is in one place and once, and nobody who cannot answer is asked,
    /// nor another model than the one that was named.
    #[test]
    fn everybody_is_told_once(
        candidates in prop::collection::vec(any_candidate(), 0..8),
        named in prop::option::of("[xy]"), hint in prop::option::of("[abc]"),
        prefer_local in any::<bool>(), draw in any::<u64>(),
    ) {
        let wish = Wish { model: named.as_deref(), hint: hint.as_deref(), prefer_local, draw, ..wish() };
        let decision = route(&wish, &candidates, None);
        let order = decision.order.iter().map(|chosen| chosen.index);
        let mut all: Vec<usize> = order.chain(decision.lost.iter().map(|(index, _)| *index)).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..candidates.len()).collect::<Vec<_>>());
        for chosen in &decision.order {
            let candidate = &candidates[chosen.index];
            let answers = matches!(candidate.health, Health::Closed | Health::HalfOpen);
            prop_assert!(answers && !candidate.full && candidate.cost != Cost::Refused);
            prop_assert!(named.is_none() || named.as_ref() == Some(&candidate.model));
        }
    }
}
