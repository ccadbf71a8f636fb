//! The configuration as an operator meets it: what works, what stops the start, what is shown.

use super::*;

const KEY: &str = "9d2f60b8e4175ac3f18b0e6d27c94a5302ef7bd1864c9a3be5703d1f28a6c94e";
const CANARY: &str = "canary-4711-do-not-show";

type Pairs<'a> = &'a [(&'a str, &'a str)];

struct Given {
    folder: tempfile::TempDir,
    environment: Environment,
    flags: Vec<Flag>,
    file: Option<PathBuf>,
}

fn given(toml: Option<&str>, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let file = toml.map(|text| {
        let path = folder.path().join("hundi.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), v.into()));
    let flags = flags.iter().map(|(key, value)| Flag {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        flag: format!("--{key}"),
    });
    Given {
        environment: variables.collect(),
        flags: flags.collect(),
        folder,
        file,
    }
}

impl Given {
    fn load(&self) -> Result<Config, String> {
        let loaded = Config::load(self.file.as_deref(), &self.environment, &self.flags);
        loaded.map_err(|error| error.to_string())
    }
}

fn row<'a>(config: &'a Config, key: &str) -> &'a Row {
    config.rows().iter().find(|row| row.key == key).unwrap()
}

#[test]
fn nothing_given_is_a_working_sandbox() {
    let config = given(None, &[], &[]).load().unwrap();
    assert!(config.sandbox_mode() && !config.on_postgres());
    assert_eq!(config.listen.to_string(), "127.0.0.1:8787");
    assert_eq!(config.sandbox_listen.to_string(), "127.0.0.1:8788");
    assert_eq!(config.token_ttl_secs, 60);
    assert_eq!(config.budget_timezone.iana_name(), Some("Asia/Kolkata"));
    assert_eq!(config.sqlite_path(), Some("./hundi-data/hundi.db".into()));
    assert_eq!(
        config.database_url.expose(),
        "sqlite://./hundi-data/hundi.db"
    );
    assert!(
        config
            .off()
            .iter()
            .any(|line| line.contains("sandbox mode"))
    );
    assert!(config.rows().iter().all(|row| row.layer == "default"));
}

#[test]
#[rustfmt::skip]
fn flags_beat_the_environment_which_beats_the_file() {
    let file = "listen = '127.0.0.1:1111'";
    let env = ("HUNDI_LISTEN", "127.0.0.1:2222");
    let flag = ("listen", "localhost:3333");
    let cases: &[(Option<&str>, Pairs, Pairs, &str, &str)] = &[
        (None,       &[],    &[],     "127.0.0.1:8787", "default"),
        (Some(file), &[],    &[],     "127.0.0.1:1111", "file"),
        (Some(file), &[env], &[],     "127.0.0.1:2222", "env"),
        (Some(file), &[env], &[flag], "127.0.0.1:3333", "flag"),
    ];
    for (file, variables, flags, listen, layer) in cases {
        let config = given(*file, variables, flags).load().unwrap();
        assert_eq!(config.listen.to_string(), *listen, "{layer}");
        assert_eq!(row(&config, "listen").layer, *layer);
    }
}

/// Every mistake names the setting and its variable, says what belongs there, and shows no value.
#[test]
#[rustfmt::skip]
fn mistakes_stop_the_start_and_say_what_to_do() {
    let cases: &[(Option<&str>, Pairs, &[&str])] = &[
        (Some("[razorpay]\nkey_scret = 'canary-4711'"), &[], &["razorpay.key_scret", "did you mean `razorpay.key_secret`"]),
        (Some("[razorpay]\nlisten = '127.0.0.1:1'"), &[],    &["did you mean `listen`", "above the first [table]"]),
        (Some("listen = 8787"), &[],                        &["`listen`", "127.0.0.1:8787"]),
        (Some("listen = 'a'\ntoken_ttl_secs = 0\nauto_poll = 'perhaps'"), &[], &["HUNDI_LISTEN", "token_ttl_secs", "from 1 to 3600", "auto_poll", "true or false"]),
        (Some("a = \n[razorpay]\nkey_secret = 'canary-4711"), &[], &["line 1", "not TOML"]),
        (None, &[("HUNDI_TOKEN_TTL_SECS", "3601")],         &["HUNDI_TOKEN_TTL_SECS", "from 1 to 3600"]),
        (None, &[("HUNDI_POLL_INTERVAL_SECS", "4")],        &["HUNDI_POLL_INTERVAL_SECS", "from 5 to 300"]),
        (None, &[("HUNDI_POLL_INTERVAL_SECS", "301")],      &["HUNDI_POLL_INTERVAL_SECS"]),
        (None, &[("HUNDI_BUDGET_TIMEZONE", "India")],       &["HUNDI_BUDGET_TIMEZONE", "Asia/Kolkata"]),
        (None, &[("HUNDI_LOG_FORMAT", "xml")],              &["HUNDI_LOG_FORMAT", "text, json"]),
        (None, &[("HUNDI_DATABASE_URL", "mysql://x")],      &["HUNDI_DATABASE_URL", "sqlite://PATH"]),
        (None, &[("HUNDI_DATABASE_URL", "sqlite::memory:")], &["HUNDI_DATABASE_URL", "name a file"]),
        (None, &[("HUNDI_REDIS_URL", "localhost:6379")],    &["HUNDI_REDIS_URL", "redis://"]),
        (None, &[("HUNDI_RAZORPAY_API_BASE", "https://me:canary-4711@bank")], &["HUNDI_RAZORPAY_API_BASE"]),
        (None, &[("HUNDI_RAZORPAY_KEY_SECRET", "")],        &["HUNDI_RAZORPAY_KEY_SECRET", "is empty"]),
        (None, &[("HUNDI_RAZORPAY_KEY_ID", "rzp_test_1"), ("HUNDI_RAZORPAY_KEY_SECRET", "short")], &["HUNDI_RAZORPAY_KEY_SECRET", "too short"]),
        (None, &[("HUNDI_RAZORPAY_KEY_ID", "rzp_test_1")],  &["HUNDI_RAZORPAY_KEY_SECRET", "missing"]),
        (None, &[("HUNDI_RAZORPAY_KEY_ID", "rzp_live_1"), ("HUNDI_RAZORPAY_KEY_SECRET", "canary-4711")], &["HUNDI_RAZORPAY_ACCOUNT_NUMBER", "missing"]),
        (None, &[("HUNDI_RAZORPAY_KEY_ID", "rzp_live_1"), ("HUNDI_RAZORPAY_KEY_SECRET", "canary-4711"), ("HUNDI_RAZORPAY_API_BASE", "http://bank")], &["HUNDI_RAZORPAY_API_BASE", "https://"]),
        (None, &[("HUNDI_RAZORPAY_WEBHOOK_SECRET", "canary-4711-x,")], &["HUNDI_RAZORPAY_WEBHOOK_SECRET", "is empty"]),
        (None, &[("HUNDI_RAZORPAY_WEBHOOK_SECRET", "canary-4711")], &["HUNDI_RAZORPAY_WEBHOOK_SECRET", "of the 12 characters"]),
        (None, &[("HUNDI_SLACK_SIGNING_SECRET", "dev-secret")], &["HUNDI_SLACK_SIGNING_SECRET", "guessable"]),
        (None, &[("HUNDI_SLACK_BOT_TOKEN", "xoxb-4711-canary")], &["HUNDI_SLACK_CHANNEL_ID", "missing"]),
        (None, &[("HUNDI_TOKEN_KEY", "")],                  &["HUNDI_TOKEN_KEY", "is empty"]),
        (None, &[("HUNDI_TOKEN_KEY", "canary-4711")],       &["HUNDI_TOKEN_KEY", "openssl rand -hex 32"]),
        (None, &[("HUNDI_AUDIT_KEY", "0123456789abcdef")],  &["HUNDI_AUDIT_KEY", "8 of the 32 bytes"]),
        (None, &[("HUNDI_MASTER_KEY", &"00".repeat(32))],   &["HUNDI_MASTER_KEY", "guessable"]),
        (None, &[("HUNDI_TOKEN_KEY_FILE", "/nowhere/at/all")], &["HUNDI_TOKEN_KEY_FILE", "/nowhere/at/all", "cannot be read"]),
        (None, &[("HUNDI_TOKEN_KEY_FILE", "/x"), ("HUNDI_TOKEN_KEY", KEY)], &["HUNDI_TOKEN_KEY", "twice"]),
        (None, &[("HUNDI_DATABASE_URL", "postgres://me:canary-4711@db/h")], &["HUNDI_TOKEN_KEY", "HUNDI_AUDIT_KEY", "HUNDI_MASTER_KEY"]),
        (None, &[("HUNDI_TOKEN_TTL_SECS", "901")],          &["token_ttl_secs (901)", "allowed_ttl_secs (900)"]),
        (Some("[integrity]\nblock_threshold = 0.5"), &[],    &["`integrity.block_threshold`", "does not exist"]),
        (Some("[integrity]\nblock_at = 1.5"), &[],           &["`integrity.block_at`", "from 0 to 1"]),
        (Some("[integrity]\nrequire_prompt = 'maybe'"), &[], &["`integrity.require_prompt`", "true or false"]),
        (Some("[integrity.weights]\nprompt_drft = 1"), &[],  &["did you mean `integrity.weights.prompt_drift`"]),
        (Some("[integrity]\nweights = 1"), &[],              &["`integrity.weights`", "does not exist"]),
        (Some("[integrity]\nweights = {prompt_drift = -1}"), &[], &["`integrity.weights.prompt_drift`", "from 0 to 1"]),
        (Some("[integrity]\nweights = {output_instability = 0, numeric_variance = 0, prompt_drift = 0}"), &[], &["`integrity.weights`", "all three are 0"]),
        (Some("[upstream.x]\nenv = 'canary-4711'\ncommand = 'a'"), &[], &["`upstream.x.env`"]),
        (Some("[upstream.x]\ncomand = 'a'"), &[],            &["did you mean `command`", "needs a `command`"]),
        (Some("[upstream.x]\nurl = 'http://h'\ntoken = 'changeme'"), &[], &["`upstream.x.token`", "guessable"]),
        (Some("[upstream.x]\ncommand = 'a'\npass_env = ['NOT_THERE']"), &[], &["NOT_THERE"]),
        (Some("[upstream.x]\nurl = 'http://h'\nheaders = {Host = 'canary-4711'}"), &[], &["`upstream.x.headers.Host`", "set otherwise"]),
        (Some("[upstream.x]\nurl = 'http://h'\ntoken = 'canary-4711'\nheaders = {Authorization = 'canary-4711'}"), &[], &["`upstream.x.headers.Authorization`"]),
        (Some("[upstream.x]\nurl = 'http://h'\nheaders = {'a b' = 'canary-4711'}"), &[], &["`upstream.x.headers.a b`", "name of a header"]),
        (Some("[upstream.x]\nurl = 'http://h'\nheaders = {a = \"canary-4711\\n\"}"), &[], &["`upstream.x.headers.a`", "visible"]),
        (Some("[upstream.x]\nurl = 'http://h'\nheaders = 'canary-4711'"), &[], &["`upstream.x.headers`", "table"]),
        (Some("[upstream.x]\ncommand = 'a'\nheaders = {a = 'canary-4711'}"), &[], &["`upstream.x.headers`", "no child process"]),
        (Some("[upstream.x]\nurl = 'http://me:canary-4711@h?a=b'"), &[], &["`upstream.x.url`", "without user name"]),
        (Some("[upstream.x]\ncommand = 'a'\ncall_deadline_secs = 601"), &[], &["`upstream.x.call_deadline_secs`", "from 1 to 600"]),
        (Some("[upstream.x]\ncommand = 'a'\nstart_timeout_secs = 0"), &[], &["`upstream.x.start_timeout_secs`", "from 1 to 600"]),
        (Some("[upstream.x]\ncommand = 'a'\nmax_answer_bytes = 5"), &[], &["`upstream.x.max_answer_bytes`", "from 1024 to 268435456"]),
        (Some("[upstream.razorpay]\ncommand = 'a'"), &[],   &["`[upstream.razorpay]`", "taken"]),
        (Some("[[webhooks]]\nurl = 'ftp://canary-4711'"), &[], &["`webhooks.1.url`", "`webhooks.1.secret`"]),
        (Some("[[webhooks]]\nurl = 'http://h/canary-4711'\nsecret = 'whsec_canary-4711'"), &[], &["`webhooks.1.secret`", "base64"]),
        (Some("[[webhooks]]\nurl = 'http://h'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\nevents = ['proposal.hold']"), &[], &["`webhooks.1.events`", "proposal.held"]),
        (Some("[[webhooks]]\nurl = 'http://h'\nsecret_env = 'NOT_THERE'"), &[], &["`webhooks.1.secret_env`"]),
        (Some("[upstream.X]\ncommand = 'a'"), &[],          &["`[upstream.X]`", "small letters"]),
        (Some("[upstream.x]\ncommand = 'a'\n[upstream.x.tools.pay]\nrisc = 'low'"), &[], &["`[upstream.x]`", "risc"]),
        (Some("[upstream.x]\ncommand = 'a'\nhandshake = 'firm'"), &[], &["`upstream.x.handshake`"]),
        (Some("[tools.create_payout]\nhold = 'yes'"), &[],   &["`tools.create_payout.hold`", "true or false"]),
        (Some("[tools.noop]\nrate_per_minute = 0"), &[],     &["`tools.noop.rate_per_minute`", "from 1 to"]),
        (Some("[tools.noop]\nburst = 5"), &[],               &["`tools.noop.burst`", "rate_per_minute"]),
    ];
    for (file, variables, expected) in cases {
        let error = given(*file, variables, &[]).load().unwrap_err();
        for part in *expected {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        assert!(!error.contains("4711"), "{error}");
    }
}

#[test]
fn a_secret_can_come_from_a_file_and_a_higher_layer_still_wins() {
    let mut given = given(
        Some("[razorpay]\naccount_number = '1'\nkey_id = 'rzp_1'\nkey_secret = 'from-the-file'"),
        &[],
        &[],
    );
    let path = given.folder.path().join("secret");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    let variable = "HUNDI_RAZORPAY_KEY_SECRET_FILE".to_owned();
    given.environment.insert(variable, path.into());
    let config = given.load().unwrap();
    assert_eq!(
        config.razorpay.key.as_ref().unwrap().secret.expose(),
        CANARY
    );
    assert_eq!(row(&config, "razorpay.key_secret").layer, "env");
    assert!(!config.sandbox_mode());
}

#[test]
#[rustfmt::skip]
fn a_weight_that_is_left_out_keeps_its_default() {
    let none: Pairs = &[];
    let drift = [("HUNDI_INTEGRITY_WEIGHTS_PROMPT_DRIFT", "0")];
    let cases: [(Option<&str>, Pairs, [f64; 3]); 5] = [
        (None,                                                none,   [0.5, 0.3, 0.2]),
        (Some("[integrity]\nweights = {prompt_drift = 1}"),   none,   [0.5, 0.3, 1.0]),
        (Some("[integrity.weights]\nnumeric_variance = 0.5"), none,   [0.5, 0.5, 0.2]),
        (Some("[integrity.weights]\nprompt_drift = 0.9"),     &drift, [0.5, 0.3, 0.0]),
        (Some("[integrity.weights]"),                         none,   [0.5, 0.3, 0.2]),
    ];
    for (file, variables, expected) in cases {
        let weights = given(file, variables, &[]).load().unwrap().weights;
        let found = [weights.output_instability, weights.numeric_variance, weights.prompt_drift];
        assert_eq!(found, expected, "{file:?}");
    }
}

#[test]
fn a_secret_is_refused_as_a_flag() {
    let error = given(None, &[], &[("token_key", KEY)]).load().unwrap_err();
    assert!(error.contains("list of processes"), "{error}");
    assert!(!error.contains(KEY));
}

#[test]
fn no_view_of_the_configuration_shows_a_secret() {
    let variables = [
        ("HUNDI_RAZORPAY_KEY_ID", "rzp_live_1"),
        ("HUNDI_RAZORPAY_KEY_SECRET", CANARY),
        ("HUNDI_RAZORPAY_ACCOUNT_NUMBER", "7878780080316316"),
        (
            "HUNDI_RAZORPAY_WEBHOOK_SECRET",
            "canary-4711-new,canary-4711-old",
        ),
        ("HUNDI_SLACK_BOT_TOKEN", CANARY),
        ("HUNDI_SLACK_CHANNEL_ID", "C1"),
        ("HUNDI_NTFY_TOKEN", CANARY),
        ("HUNDI_SAFE_BROWSING_KEY", CANARY),
        ("HUNDI_DATABASE_URL", "postgres://me:canary-4711@db/hundi"),
        ("HUNDI_REDIS_URL", "rediss://:canary-4711@cache"),
        ("HUNDI_TOKEN_KEY", KEY),
        ("HUNDI_AUDIT_KEY", KEY),
        ("HUNDI_MASTER_KEY", KEY),
        ("SECRET_OF_AN_UPSTREAM", CANARY),
    ];
    let toml = "[upstream.bank]\ncommand = 'bank'\nargs = ['--key', 'canary-4711']\npass_env = ['SECRET_OF_AN_UPSTREAM']\n\
                [upstream.far]\nurl = 'https://far.example/mcp'\ntoken = 'canary-4711-far'";
    let config = given(Some(toml), &variables, &[]).load().unwrap();
    let views = [
        serde_json::to_string(config.rows()).unwrap(),
        config.off().join("\n"),
        config.warnings.join("\n"),
        format!("{:?}", config.razorpay),
        format!("{:?}", (&config.slack, &config.ntfy, &config.safe_browsing)),
        format!(
            "{:?}",
            (&config.database_url, &config.redis_url, &config.token_keys)
        ),
    ];
    for view in views {
        assert!(!view.contains("4711"), "{view}");
        assert!(!view.contains(&KEY[..16]), "{view}");
    }
    let Transport::Child(child) = &config.upstreams["bank"].transport else {
        panic!("a child process");
    };
    assert_eq!(child.env["SECRET_OF_AN_UPSTREAM"].expose(), CANARY);
    assert_eq!(config.razorpay.webhook_secrets.len(), 2);
}

#[test]
fn a_misspelt_variable_is_pointed_out_and_a_foreign_one_is_not() {
    let variables = [
        ("HUNDI_TOKEN_TTL_SEC", "5"),
        ("HUNDI_PORT", "tcp://10.0.0.1:80"),
        // Of the command line, where it asks a server.
        ("HUNDI_API_KEY", "hk_x"),
        ("HUNDI_URL", "http://127.0.0.1:1"),
    ];
    let config = given(None, &variables, &[]).load().unwrap();
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("did you mean HUNDI_TOKEN_TTL_SECS?"));
}

#[test]
fn where_an_upstream_leads_is_all_that_it_is_given() {
    let place = |more: &str| {
        let toml = format!("[upstream.a]\ncommand = 'pay'\nargs = ['x']\n{more}");
        given(Some(&toml), &[], &[]).load().unwrap().upstreams["a"].place()
    };
    let plain = place("");
    assert_eq!(plain, place("prefix = 'p_'"), "a rule is no place");
    for more in ["env = { BANK = 'evil' }", "cwd = '/tmp'"] {
        assert_ne!(plain, place(more), "{more}");
    }
    assert_ne!(place("env = { BANK = 'a' }"), place("env = { BANK = 'b' }"));
    let at = |url: &str, token: &str| {
        let toml = format!("[upstream.a]\nurl = '{url}'\ntoken = '{token}'\n");
        given(Some(&toml), &[], &[]).load().unwrap().upstreams["a"].place()
    };
    let one = at("https://a.example/mcp", "q7Lr2vXz9Kd4Ws8Tn1Bf6Hc3");
    assert_ne!(one, at("https://b.example/mcp", "q7Lr2vXz9Kd4Ws8Tn1Bf6Hc3"));
    assert_eq!(one, at("https://a.example/mcp", "Jm5Gy0Pk8Vb2Rx7Zt4Nw1Qs6"));
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let mut given = given(None, &[], &[]);
    given.file = Some("/nowhere/hundi.toml".into());
    let error = given.load().unwrap_err();
    assert!(
        error.contains("/nowhere/hundi.toml cannot be read"),
        "{error}"
    );
}

#[test]
fn an_upstream_has_a_way_to_reach_it_and_rules() {
    let toml = r#"
        [upstream.bank]
        command = "razorpay-mcp-server"
        args = ["stdio"]
        env = { LOG_LEVEL = "warn" }
        handshake = "initialize"
        only_listed = true
        [upstream.bank.tools.fetch_payment]
        risk = "low"
        [upstream.bank.tools.create_refund]
        hold = true
        money = { amounts = ["amount"], always = true }
        [tools.create_payout]
        hold = true
        [upstream.far]
        url = "https://mcp.example/mcp?tenant=7"
        headers = { X-Api-Key = "something-secret" }
        start_timeout_secs = 60
        call_deadline_secs = 600
        max_answer_bytes = 1048576
    "#;
    let config = given(Some(toml), &[], &[]).load().unwrap();
    let bank = &config.upstreams["bank"];
    assert_eq!(bank.handshake, Handshake::Initialize);
    assert!(bank.rules.only_listed && bank.rules.tools["create_refund"].hold);
    assert_eq!(bank.rules.tools.len(), 2);
    assert_eq!(config.tools["create_payout"].hold, Some(true));
    let far = &config.upstreams["far"];
    assert_eq!(
        far.limits,
        Limits {
            start_timeout_secs: Some(60),
            call_deadline_secs: Some(600),
            max_answer_bytes: Some(1 << 20),
        }
    );
    let Transport::Http(http) = &far.transport else {
        panic!("it is a server");
    };
    assert_eq!(http.url, "https://mcp.example/mcp?tenant=7");
    assert_eq!(http.headers["x-api-key"].expose(), "something-secret");
    assert!(!format!("{config:?}").contains("something-secret"));
}

#[test]
fn a_known_service_needs_its_key_and_nothing_else() {
    let toml = format!("[providers.openai]\nkey = \"{CANARY}\"\n[providers.ollama]\n");
    let config = given(Some(&toml), &[], &[]).load().unwrap();
    let [ollama, openai] = config.models.providers.as_slice() else {
        panic!("two providers");
    };
    assert_eq!(openai.provider.base_url, "https://api.openai.com/v1");
    assert!(openai.provider.completion_tokens && !openai.provider.local);
    assert_eq!(openai.key.as_ref().unwrap().expose(), CANARY);
    assert!(ollama.provider.local && ollama.key.is_none());
    assert!(!format!("{config:?}").contains(CANARY));
    let shown = serde_json::to_string(config.rows()).unwrap();
    assert!(shown.contains("https://api.openai.com/v1") && !shown.contains(CANARY));
    let inherited = given(
        Some("[providers.anthropic]\n"),
        &[("ANTHROPIC_API_KEY", CANARY)],
        &[],
    );
    let config = inherited.load().unwrap();
    assert!(config.models.providers[0].key.is_some());
}

#[test]
#[rustfmt::skip]
fn what_is_wrong_about_a_provider_is_told_by_name() {
    for (toml, wanted) in [
        ("[providers.openai]",                                        "`providers.openai.key`: the key of openai (or OPENAI_API_KEY is set) belongs here"),
        ("[providers.mine]",                                          "`providers.mine.base_url`"),
        ("[providers.mine]\nbase_url = \"ftp://x\"",                  "`providers.mine.base_url`"),
        ("[providers.mine]\nbase_url = \"http://x\"\nkind = \"gpt\"", "`providers.mine.kind`"),
        ("[providers.mine]\nbase_url = \"http://x\"\nmodles = []",    "did you mean `models`?"),
        ("[providers.mine]\nbase_url = \"http://x\"\nprices = {input = \"x\"}", "`providers.mine.prices.input`: decimal dollars"),
        ("[routes.code]\nmodel = \"x\"",                              "`[routes.code]`"),
        ("[providers]\nbreaker_failures = 0",                         "providers.breaker_failures"),
        ("[secrets]\nmode = \"maybe\"",                               "secrets.mode"),
    ] {
        let told = given(Some(toml), &[], &[]).load().unwrap_err();
        assert!(told.contains(wanted), "{toml}: {told}");
    }
}

#[test]
fn routes_are_lists_or_shares() {
    let toml = "[routes.code]\nmodels = [\"a\", \"b\"]\n[routes.chat]\nweights = {a = 3, b = 1}\n";
    let config = given(Some(toml), &[], &[]).load().unwrap();
    assert_eq!(config.models.routes.len(), 2);
    assert_eq!(config.models.share_percent, 50);
}
