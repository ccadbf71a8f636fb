//! The table of formats: how each provider spells its keys, by its own public documentation.
//!
//! A row is a prefix, what follows it, and what proves that it is a key and not a word that starts
//! in the same way: its exact shape, a checksum, a mark inside, or that it was made by chance.
//! Lengths are as wide as a provider was ever seen to use, and alphabets too where that costs no
//! false alarm. To add a format is to add a row.

use super::chance;
use super::checksum;
use super::text::{self, ALNUM, ANY_HEX, BASE64, Class, DIGIT, DOTTED, ESCAPED, HEX, IDENT};
use super::text::{LOWER_NUM, PADDED, UPPER_NUM, WORD};

/// One format.
#[derive(Debug)]
pub struct Format {
    /// The name of what is found.
    pub rule: &'static str,
    /// How it starts.
    pub prefix: &'static str,
    body: &'static [Part],
    proof: Proof,
    /// The prefix only says what follows, and is no part of the secret.
    names: bool,
}

#[derive(Debug)]
enum Part {
    /// So many characters of a class, and no more of them.
    Run(Class, usize, usize),
    /// This text.
    Text(&'static str),
}
use Part::{Run, Text};

#[derive(Clone, Copy, Debug)]
enum Proof {
    /// The shape is proof enough; only what is merely filled in is no key.
    Shape,
    /// It has to look like chance, since words can have prefix and shape.
    Chance,
    /// It has to look like more than words, since they can have the shape.
    Mixed,
    /// The last six characters are a checksum of those before.
    Crc32,
    /// This stands inside.
    Has(&'static str),
}

impl Format {
    /// Where the secret is, if the prefix that stands at `at` opens one.
    pub fn at(&self, text: &[u8], at: usize) -> Option<(usize, usize)> {
        let starts = text::starts_word(text, at) || self.names;
        let joined = at > 0 && text.get(at - 1) == Some(&b'-') && self.prefix.contains('-');
        if !starts || joined {
            return None;
        }
        let body = at + self.prefix.len();
        let end = self.end(text, body)?;
        let proven = self.proves(text::slice(text, body, end));
        let start = if self.names { body } else { at };
        proven.then_some((start, end))
    }

    /// What can follow the prefix, where that is characters of a class.
    pub fn next(&self) -> Option<Class> {
        match self.body.first() {
            Some(Run(class, ..)) => Some(*class),
            Some(Text(_)) | None => None,
        }
    }

    fn end(&self, text: &[u8], body: usize) -> Option<usize> {
        let mut at = body;
        for part in self.body {
            at += match part {
                Run(class, least, most) => {
                    let run = class.run(text, at, most + 1);
                    (*least..=*most).contains(&run).then_some(run)?
                }
                Text(what) => text::stands(text, at, what).then_some(what.len())?,
            };
        }
        text::ends_word(text, at).then_some(at)
    }

    fn proves(&self, body: &[u8]) -> bool {
        match self.proof {
            Proof::Shape => !chance::is_filling(body),
            Proof::Chance => chance::is_by_chance(body),
            Proof::Mixed => chance::is_mixed(body),
            Proof::Crc32 => checksum::ends_in_crc32(body),
            Proof::Has(mark) => body.windows(mark.len()).any(|part| part == mark.as_bytes()),
        }
    }

    /// The proof is that it was made by chance.
    const fn chance(mut self) -> Self {
        self.proof = Proof::Chance;
        self
    }

    /// The proof is that it is more than words.
    const fn mixed(mut self) -> Self {
        self.proof = Proof::Mixed;
        self
    }

    const fn crc32(mut self) -> Self {
        self.proof = Proof::Crc32;
        self
    }

    const fn has(mut self, mark: &'static str) -> Self {
        self.proof = Proof::Has(mark);
        self
    }

    /// The prefix is no part of it.
    const fn named(mut self) -> Self {
        self.names = true;
        self
    }
}

const fn key(rule: &'static str, prefix: &'static str, body: &'static [Part]) -> Format {
    Format {
        rule,
        prefix,
        body,
        proof: Proof::Shape,
        names: false,
    }
}

const UUID: &[Part] = &[
    Run(ANY_HEX, 8, 8),
    Text("-"),
    Run(ANY_HEX, 4, 4),
    Text("-"),
    Run(ANY_HEX, 4, 4),
    Text("-"),
    Run(ANY_HEX, 4, 4),
    Text("-"),
    Run(ANY_HEX, 12, 12),
];
/// Longest of what has no length of its own.
const LONG: usize = 2_048;

/// Every format that a prefix gives away.
#[rustfmt::skip]
pub const FORMATS: &[Format] = &[
    // Ours.
    key("hundi_api_key",            "hk_",                 &[Run(HEX, 16, 16), Text("_"), Run(HEX, 64, 64)]),
    key("hundi_server_key",         "hs_",                 &[Run(HEX, 16, 16), Text("_"), Run(HEX, 64, 64)]),

    // Clouds and hosting.
    key("aws_access_key_id",        "AKIA",                &[Run(UPPER_NUM, 16, 16)]),
    key("aws_access_key_id",        "ASIA",                &[Run(UPPER_NUM, 16, 16)]),
    key("aws_access_key_id",        "ABIA",                &[Run(UPPER_NUM, 16, 16)]),
    key("aws_access_key_id",        "ACCA",                &[Run(UPPER_NUM, 16, 16)]),
    key("aws_bedrock_key",          "ABSK",                &[Run(PADDED, 109, 269)]),
    key("google_api_key",           "AIza",                &[Run(WORD, 35, 35)]),
    key("google_oauth_secret",      "GOCSPX-",             &[Run(WORD, 28, 28)]),
    key("google_oauth_token",       "ya29.",               &[Run(DOTTED, 40, LONG)]).mixed(),
    key("google_refresh_token",     "1//0",                &[Run(WORD, 40, 256)]).chance(),
    key("azure_storage_key",        "AccountKey=",         &[Run(BASE64, 86, 86), Text("==")]).named(),
    key("azure_shared_access_key",  "SharedAccessKey=",    &[Run(BASE64, 43, 43), Text("=")]).named(),
    key("digitalocean_token",       "dop_v1_",             &[Run(HEX, 64, 64)]),
    key("digitalocean_token",       "doo_v1_",             &[Run(HEX, 64, 64)]),
    key("digitalocean_token",       "dor_v1_",             &[Run(HEX, 64, 64)]),
    key("heroku_api_key",           "HRKU-AA",             &[Run(WORD, 58, 58)]),
    key("heroku_api_key",           "HRKU-",               UUID),
    key("alibaba_access_key",       "LTAI",                &[Run(ALNUM, 12, 26)]).mixed(),
    key("tencent_secret_id",        "AKID",                &[Run(ALNUM, 32, 36)]),
    key("cloudflare_token",         "cfut_",               &[Run(ALNUM, 40, 56)]),
    key("cloudflare_token",         "cfat_",               &[Run(ALNUM, 40, 56)]),
    key("cloudflare_token",         "cfk_",                &[Run(ALNUM, 37, 56)]),
    key("cloudflare_origin_key",    "v1.0-",               &[Run(HEX, 24, 24), Text("-"), Run(HEX, 146, 146)]),
    key("flyio_token",              "fo1_",                &[Run(WORD, 43, 43)]),
    key("flyio_token",              "fm1r_",               &[Run(PADDED, 100, LONG)]),
    key("flyio_token",              "fm1a_",               &[Run(PADDED, 100, LONG)]),
    key("flyio_token",              "fm2_",                &[Run(PADDED, 100, LONG)]),
    key("netlify_token",            "nfp_",                &[Run(ALNUM, 36, 40)]),
    key("vercel_token",             "vcp_",                &[Run(ALNUM, 24, 64)]).mixed(),
    key("vercel_token",             "vck_",                &[Run(ALNUM, 24, 64)]).mixed(),
    key("render_api_key",           "rnd_",                &[Run(ALNUM, 24, 40)]).mixed(),
    key("databricks_token",         "dapi",                &[Run(HEX, 32, 32)]),
    key("databricks_token",         "dapi",                &[Run(HEX, 32, 32), Text("-"), Run(DIGIT, 1, 1)]),
    key("planetscale_password",     "pscale_pw_",          &[Run(DOTTED, 32, 64)]).mixed(),
    key("planetscale_token",        "pscale_tkn_",         &[Run(DOTTED, 32, 64)]).mixed(),
    key("planetscale_token",        "pscale_oauth_",       &[Run(DOTTED, 32, 64)]).mixed(),
    key("supabase_token",           "sbp_",                &[Run(HEX, 40, 40)]),
    key("supabase_secret_key",      "sb_secret_",          &[Run(WORD, 31, 41)]).mixed(),
    key("neon_api_key",             "napi_",               &[Run(LOWER_NUM, 64, 64)]),
    key("doppler_token",            "dp.pt.",              &[Run(ALNUM, 40, 44)]),
    key("doppler_token",            "dp.ct.",              &[Run(ALNUM, 40, 44)]),
    key("doppler_token",            "dp.sa.",              &[Run(ALNUM, 40, 44)]),
    key("doppler_token",            "dp.scim.",            &[Run(ALNUM, 40, 44)]),
    key("doppler_token",            "dp.audit.",           &[Run(ALNUM, 40, 44)]),
    key("vault_token",              "hvs.",                &[Run(WORD, 24, 300)]).mixed(),
    key("vault_token",              "hvb.",                &[Run(WORD, 24, 300)]).mixed(),
    key("vault_token",              "hvr.",                &[Run(WORD, 24, 300)]).mixed(),
    key("pulumi_token",             "pul-",                &[Run(HEX, 40, 40)]),
    key("infracost_key",            "ico-",                &[Run(ALNUM, 32, 32)]),
    key("onepassword_token",        "ops_eyJ",             &[Run(PADDED, 200, LONG)]),
    key("tailscale_key",            "tskey-auth-",         &[Run(ALNUM, 10, 24), Text("-"), Run(ALNUM, 20, 40)]),
    key("tailscale_key",            "tskey-api-",          &[Run(ALNUM, 10, 24), Text("-"), Run(ALNUM, 20, 40)]),
    key("tailscale_key",            "tskey-client-",       &[Run(ALNUM, 10, 24), Text("-"), Run(ALNUM, 20, 40)]),
    key("openshift_token",          "sha256~",             &[Run(WORD, 43, 43)]),
    key("yandex_api_key",           "AQVN",                &[Run(WORD, 35, 38)]),
    key("scalingo_token",           "tk-us-",              &[Run(WORD, 48, 48)]),
    key("age_secret_key",           "AGE-SECRET-KEY-1",    &[Run(UPPER_NUM, 58, 58)]),

    // Code, packages, builds.
    key("github_token",             "ghp_",                &[Run(ALNUM, 36, 36)]).crc32(),
    key("github_token",             "gho_",                &[Run(ALNUM, 36, 36)]).crc32(),
    key("github_token",             "ghu_",                &[Run(ALNUM, 36, 36)]).crc32(),
    key("github_token",             "ghs_",                &[Run(ALNUM, 36, 36)]).crc32(),
    key("github_token",             "ghr_",                &[Run(ALNUM, 36, 76)]).crc32(),
    key("github_fine_token",        "github_pat_",         &[Run(ALNUM, 22, 22), Text("_"), Run(ALNUM, 59, 59)]),
    key("gitlab_token",             "glpat-",              &[Run(WORD, 20, 300)]).mixed(),
    key("gitlab_token",             "glpat-",              &[Run(WORD, 20, 300), Text("."), Run(LOWER_NUM, 2, 2), Text("."), Run(LOWER_NUM, 9, 9)]),
    key("gitlab_token",             "glpat-",              &[Run(WORD, 20, 300), Text("."), Run(LOWER_NUM, 9, 9)]),
    key("gitlab_deploy_token",      "gldt-",               &[Run(WORD, 20, 64)]).mixed(),
    key("gitlab_runner_token",      "glrt-",               &[Run(DOTTED, 20, 300)]).mixed(),
    key("gitlab_runner_token",      "GR1348941",           &[Run(WORD, 20, 20)]),
    key("gitlab_trigger_token",     "glptt-",              &[Run(HEX, 40, 40)]),
    key("gitlab_agent_token",       "glagent-",            &[Run(WORD, 50, 64)]),
    key("gitlab_job_token",         "glcbt-",              &[Run(DOTTED, 20, LONG)]).mixed(),
    key("gitlab_feed_token",        "glft-",               &[Run(WORD, 20, 80)]).mixed(),
    key("gitlab_mail_token",        "glimt-",              &[Run(WORD, 20, 80)]).mixed(),
    key("gitlab_oauth_secret",      "gloas-",              &[Run(HEX, 64, 64)]),
    key("gitlab_scim_token",        "glsoat-",             &[Run(WORD, 20, 64)]).mixed(),
    key("gitlab_flags_token",       "glffct-",             &[Run(WORD, 20, 64)]).mixed(),
    key("bitbucket_app_password",   "ATBB",                &[Run(ALNUM, 32, 32)]),
    key("bitbucket_token",          "ATCTT3x",             &[Run(PADDED, 150, 256)]),
    key("atlassian_token",          "ATATT3x",             &[Run(PADDED, 150, 256)]),
    key("sourcegraph_token",        "sgp_",                &[Run(HEX, 40, 40)]),
    key("sourcegraph_token",        "sgp_",                &[Run(HEX, 16, 16), Text("_"), Run(HEX, 40, 40)]),
    key("npm_token",                "npm_",                &[Run(ALNUM, 36, 36)]).crc32(),
    key("pypi_token",               concat!("pypi-AgEI", "cHlwaS5vcmc"), &[Run(WORD, 50, LONG)]),
    key("pypi_token",               concat!("pypi-AgEN", "dGVzdC5weXBpLm9yZw"), &[Run(WORD, 50, LONG)]),
    key("rubygems_key",             "rubygems_",           &[Run(HEX, 48, 48)]),
    key("crates_io_token",          "cio",                 &[Run(ALNUM, 32, 32)]).chance(),
    key("nuget_key",                "oy2",                 &[Run(LOWER_NUM, 43, 43)]).mixed(),
    key("clojars_token",            "CLOJARS_",            &[Run(HEX, 60, 60)]),
    key("docker_token",             "dckr_pat_",           &[Run(WORD, 27, 36)]),
    key("docker_token",             "dckr_oat_",           &[Run(WORD, 27, 36)]),
    key("artifactory_key",          "AKCp",                &[Run(ALNUM, 69, 69)]),
    key("artifactory_token",        "cmVmdGtu",            &[Run(ALNUM, 56, 56)]),
    key("circleci_token",           "CCIPAT_",             &[Run(ALNUM, 22, 22), Text("_"), Run(HEX, 40, 40)]),
    key("circleci_token",           "CCIPRJ_",             &[Run(ALNUM, 22, 22), Text("_"), Run(HEX, 40, 40)]),
    key("buildkite_token",          "bkua_",               &[Run(HEX, 40, 40)]),
    key("sonar_token",              "sqp_",                &[Run(HEX, 40, 40)]),
    key("sonar_token",              "squ_",                &[Run(HEX, 40, 40)]),
    key("sonar_token",              "sqa_",                &[Run(HEX, 40, 40)]),
    key("postman_key",              "PMAK-",               &[Run(HEX, 24, 24), Text("-"), Run(HEX, 34, 34)]),
    key("harness_token",            "pat.",                &[Run(WORD, 22, 22), Text("."), Run(HEX, 24, 24), Text("."), Run(ALNUM, 20, 20)]),
    key("harness_token",            "sat.",                &[Run(WORD, 22, 22), Text("."), Run(HEX, 24, 24), Text("."), Run(ALNUM, 20, 20)]),
    key("octopus_key",              "API-",                &[Run(UPPER_NUM, 25, 32)]).chance(),
    key("launchdarkly_key",         "sdk-",                UUID),
    key("launchdarkly_key",         "api-",                UUID),
    key("prefect_key",              "pnu_",                &[Run(ALNUM, 36, 36)]),
    key("dbt_token",                "dbtc_",               &[Run(WORD, 36, 60)]).mixed(),
    key("dbt_token",                "dbtu_",               &[Run(WORD, 36, 60)]).mixed(),

    // Watching.
    key("grafana_token",            "glc_",                &[Run(PADDED, 32, 400)]).mixed(),
    key("grafana_token",            "glsa_",               &[Run(ALNUM, 32, 32), Text("_"), Run(ANY_HEX, 8, 8)]),
    key("grafana_key",              "eyJrIjoi",            &[Run(PADDED, 60, 400)]),
    key("sentry_token",             "sntrys_eyJ",          &[Run(PADDED, 60, 400)]),
    key("sentry_token",             "sntryu_",             &[Run(HEX, 64, 64)]),
    key("new_relic_key",            "NRAK-",               &[Run(UPPER_NUM, 27, 27)]),
    key("new_relic_key",            "NRII-",               &[Run(WORD, 32, 32)]).mixed(),
    key("new_relic_key",            "NRAA-",               &[Run(HEX, 27, 27)]),
    key("dynatrace_token",          "dt0c01.",             &[Run(UPPER_NUM, 24, 24), Text("."), Run(UPPER_NUM, 64, 64)]),
    key("dynatrace_token",          "dt0s01.",             &[Run(UPPER_NUM, 8, 24), Text("."), Run(UPPER_NUM, 64, 64)]),
    key("honeycomb_key",            "hcaik_",              &[Run(LOWER_NUM, 58, 64)]),
    key("honeycomb_key",            "hcxik_",              &[Run(LOWER_NUM, 58, 64)]),
    key("posthog_key",              "phx_",                &[Run(ALNUM, 43, 48)]),

    // Chat and mail.
    key("slack_token",              "xoxb-",               &[Run(DIGIT, 8, 14), Text("-"), Run(ALNUM, 18, 34)]),
    key("slack_token",              "xoxb-",               &[Run(DIGIT, 8, 14), Text("-"), Run(DIGIT, 8, 14), Text("-"), Run(ALNUM, 20, 34)]),
    key("slack_token",              "xoxp-",               &[Run(DIGIT, 8, 14), Text("-"), Run(DIGIT, 8, 14), Text("-"), Run(DIGIT, 8, 14), Text("-"), Run(ALNUM, 28, 34)]),
    key("slack_token",              "xoxp-",               &[Run(DIGIT, 8, 14), Text("-"), Run(DIGIT, 8, 14), Text("-"), Run(ALNUM, 24, 34)]),
    key("slack_token",              "xoxa-",               &[Run(WORD, 24, 160)]).mixed(),
    key("slack_token",              "xoxr-",               &[Run(WORD, 24, 160)]).mixed(),
    key("slack_token",              "xoxs-",               &[Run(WORD, 24, 160)]).mixed(),
    key("slack_token",              "xoxo-",               &[Run(WORD, 24, 160)]).mixed(),
    key("slack_token",              "xoxc-",               &[Run(WORD, 24, 160)]).mixed(),
    key("slack_token",              "xoxe-",               &[Run(WORD, 24, 300)]).mixed(),
    key("slack_token",              "xoxe.xox",            &[Run(WORD, 24, 300)]).mixed(),
    key("slack_app_token",          "xapp-",               &[Run(DIGIT, 1, 2), Text("-"), Run(UPPER_NUM, 8, 16), Text("-"), Run(DIGIT, 8, 16), Text("-"), Run(LOWER_NUM, 32, 80)]),
    key("slack_webhook",            "hooks.slack.com/services/", &[Run(UPPER_NUM, 8, 14), Text("/"), Run(UPPER_NUM, 8, 14), Text("/"), Run(ALNUM, 18, 32)]),
    key("slack_webhook",            "hooks.slack.com/workflows/", &[Run(UPPER_NUM, 8, 14), Text("/"), Run(UPPER_NUM, 8, 14), Text("/"), Run(DIGIT, 8, 20), Text("/"), Run(ALNUM, 18, 32)]),
    key("slack_webhook",            "hooks.slack.com/triggers/", &[Run(UPPER_NUM, 8, 14), Text("/"), Run(DIGIT, 8, 20), Text("/"), Run(ALNUM, 18, 64)]),
    key("discord_webhook",          "discord.com/api/webhooks/", &[Run(DIGIT, 17, 20), Text("/"), Run(WORD, 60, 80)]),
    key("discord_webhook",          "discordapp.com/api/webhooks/", &[Run(DIGIT, 17, 20), Text("/"), Run(WORD, 60, 80)]),
    key("twilio_api_key",           "SK",                  &[Run(ANY_HEX, 32, 32)]),
    key("sendgrid_key",             "SG.",                 &[Run(WORD, 22, 22), Text("."), Run(WORD, 43, 43)]),
    key("mailgun_key",              "key-",                &[Run(HEX, 32, 32)]),
    key("mailgun_public_key",       "pubkey-",             &[Run(HEX, 32, 32)]),
    key("mandrill_key",             "md-",                 &[Run(WORD, 22, 22)]).chance(),
    key("brevo_key",                "xkeysib-",            &[Run(HEX, 64, 64), Text("-"), Run(ALNUM, 16, 16)]),
    key("brevo_key",                "xsmtpsib-",           &[Run(HEX, 64, 64), Text("-"), Run(ALNUM, 16, 16)]),
    key("resend_key",               "re_",                 &[Run(ALNUM, 8, 8), Text("_"), Run(ALNUM, 24, 24)]),
    key("mailersend_token",         "mlsn.",               &[Run(HEX, 64, 64)]),
    key("intercom_token",           "dG9rO",               &[Run(PADDED, 40, 80)]).chance(),

    // Payments and shops.
    key("razorpay_key_id",          "rzp_live_",           &[Run(ALNUM, 14, 14)]),
    key("razorpay_key_id",          "rzp_test_",           &[Run(ALNUM, 14, 14)]),
    key("stripe_key",               "sk_live_",            &[Run(ALNUM, 16, 256)]).mixed(),
    key("stripe_key",               "sk_test_",            &[Run(ALNUM, 16, 256)]).mixed(),
    key("stripe_key",               "rk_live_",            &[Run(ALNUM, 16, 256)]).mixed(),
    key("stripe_key",               "rk_test_",            &[Run(ALNUM, 16, 256)]).mixed(),
    key("stripe_key",               "sk_org_",             &[Run(IDENT, 16, 256)]).mixed(),
    key("webhook_secret",           "whsec_",              &[Run(PADDED, 24, 128)]).mixed(),
    key("square_token",             "sq0atp-",             &[Run(WORD, 22, 22)]),
    key("square_secret",            "sq0csp-",             &[Run(WORD, 43, 43)]),
    key("square_token",             "EAAA",                &[Run(WORD, 56, 64)]).chance(),
    key("shopify_token",            "shpat_",              &[Run(ANY_HEX, 32, 32)]),
    key("shopify_token",            "shpca_",              &[Run(ANY_HEX, 32, 32)]),
    key("shopify_token",            "shppa_",              &[Run(ANY_HEX, 32, 32)]),
    key("shopify_token",            "shpua_",              &[Run(ANY_HEX, 32, 32)]),
    key("shopify_secret",           "shpss_",              &[Run(ANY_HEX, 32, 32)]),
    key("braintree_token",          "access_token$production$", &[Run(LOWER_NUM, 16, 16), Text("$"), Run(HEX, 32, 32)]),
    key("braintree_token",          "access_token$sandbox$", &[Run(LOWER_NUM, 16, 16), Text("$"), Run(HEX, 32, 32)]),
    key("plaid_token",              "access-sandbox-",     UUID),
    key("plaid_token",              "access-production-",  UUID),
    key("plaid_token",              "access-development-", UUID),
    key("flutterwave_key",          "FLWSECK_TEST-",       &[Run(WORD, 32, 36)]).mixed(),
    key("flutterwave_key",          "FLWSECK-",            &[Run(WORD, 32, 36)]).mixed(),
    key("mollie_key",               "live_",               &[Run(ALNUM, 30, 30)]).chance(),
    key("cashfree_key",             "cfsk_ma_",            &[Run(IDENT, 32, 64)]).mixed(),
    key("easypost_key",             "EZAK",                &[Run(ALNUM, 54, 54)]),
    key("easypost_key",             "EZTK",                &[Run(ALNUM, 54, 54)]),
    key("shippo_token",             "shippo_live_",        &[Run(HEX, 40, 40)]),
    key("shippo_token",             "shippo_test_",        &[Run(HEX, 40, 40)]),
    key("paddle_key",               "pdl_live_apikey_",    &[Run(IDENT, 40, 70)]).mixed(),
    key("paddle_key",               "pdl_sdbx_apikey_",    &[Run(IDENT, 40, 70)]).mixed(),
    key("mercadopago_token",        "APP_USR-",            &[Run(DIGIT, 12, 20), Text("-"), Run(DIGIT, 6, 6), Text("-"), Run(HEX, 32, 32), Text("-"), Run(DIGIT, 5, 12)]),
    key("duffel_token",             "duffel_live_",        &[Run(WORD, 43, 43)]),
    key("duffel_token",             "duffel_test_",        &[Run(WORD, 43, 43)]),
    key("xprv_key",                 "xprv",                &[Run(ALNUM, 107, 108)]),

    // Models and what stands around them.
    key("openai_key",               "sk-",                 &[Run(ALNUM, 32, 64)]).mixed(),
    key("openai_key",               "sk-",                 &[Run(WORD, 40, 256)]).has("T3BlbkFJ"),
    key("openai_key",               "sk-proj-",            &[Run(WORD, 40, 256)]).mixed(),
    key("openai_key",               "sk-svcacct-",         &[Run(WORD, 40, 256)]).mixed(),
    key("openai_key",               "sk-None-",            &[Run(WORD, 40, 256)]).mixed(),
    key("openai_admin_key",         "sk-admin-",           &[Run(WORD, 40, 256)]).mixed(),
    key("anthropic_key",            "sk-ant-",             &[Run(WORD, 32, 160)]).mixed(),
    key("openrouter_key",           "sk-or-v1-",           &[Run(HEX, 64, 64)]),
    key("langfuse_key",             "sk-lf-",              UUID),
    key("helicone_key",             "sk-helicone-",        &[Run(WORD, 20, 60)]).mixed(),
    key("xai_key",                  "xai-",                &[Run(ALNUM, 70, 90)]),
    key("groq_key",                 "gsk_",                &[Run(ALNUM, 48, 56)]),
    key("perplexity_key",           "pplx-",               &[Run(ALNUM, 40, 56)]),
    key("huggingface_token",        "hf_",                 &[Run(ALNUM, 34, 40)]),
    key("huggingface_token",        "api_org_",            &[Run(ALNUM, 34, 40)]),
    key("replicate_token",          "r8_",                 &[Run(ALNUM, 37, 40)]),
    key("together_key",             "tgp_v1_",             &[Run(WORD, 40, 60)]),
    key("fireworks_key",            "fw_",                 &[Run(ALNUM, 20, 28)]).chance(),
    key("nvidia_key",               "nvapi-",              &[Run(WORD, 60, 70)]),
    key("cerebras_key",             "csk-",                &[Run(LOWER_NUM, 44, 52)]),
    key("voyage_key",               "pa-",                 &[Run(WORD, 40, 48)]).chance(),
    key("pinecone_key",             "pcsk_",               &[Run(IDENT, 50, 80)]),
    key("langsmith_key",            "lsv2_pt_",            &[Run(HEX, 32, 32), Text("_"), Run(HEX, 10, 10)]),
    key("langsmith_key",            "lsv2_sk_",            &[Run(HEX, 32, 32), Text("_"), Run(HEX, 10, 10)]),
    key("elevenlabs_key",           "sk_",                 &[Run(HEX, 48, 48)]),
    key("tavily_key",               "tvly-",               &[Run(WORD, 28, 64)]).mixed(),
    key("jina_key",                 "jina_",               &[Run(WORD, 40, 70)]).mixed(),
    key("llamacloud_key",           "llx-",                &[Run(ALNUM, 44, 52)]),
    key("firecrawl_key",            "fc-",                 &[Run(HEX, 32, 32)]),
    key("e2b_key",                  "e2b_",                &[Run(HEX, 40, 40)]),
    key("runpod_key",               "rpa_",                &[Run(ALNUM, 40, 52)]),
    key("wandb_key",                "wandb_v1_",           &[Run(WORD, 40, 90)]).mixed(),
    key("comet_key",                "co_",                 &[Run(ALNUM, 40, 40)]).chance(),

    // What people work with.
    key("airtable_token",           "pat",                 &[Run(ALNUM, 14, 14), Text("."), Run(HEX, 64, 64)]),
    key("notion_token",             "ntn_",                &[Run(ALNUM, 43, 50)]),
    key("notion_token",             "secret_",             &[Run(ALNUM, 43, 43)]).chance(),
    key("linear_key",               "lin_api_",            &[Run(ALNUM, 40, 40)]),
    key("linear_token",             "lin_oauth_",          &[Run(HEX, 64, 64)]),
    key("figma_token",              "figd_",               &[Run(WORD, 38, 44)]),
    key("figma_token",              "figu_",               &[Run(WORD, 38, 44)]),
    key("hubspot_token",            "pat-na1-",            UUID),
    key("hubspot_token",            "pat-na2-",            UUID),
    key("hubspot_token",            "pat-eu1-",            UUID),
    key("dropbox_token",            "sl.",                 &[Run(WORD, 130, LONG)]).chance(),
    key("contentful_token",         "CFPAT-",              &[Run(WORD, 43, 43)]),
    key("mapbox_secret_token",      "sk.eyJ",              &[Run(WORD, 40, 120), Text("."), Run(WORD, 20, 24)]),
    key("typeform_token",           "tfp_",                &[Run(DOTTED, 44, 70)]),
    key("frameio_token",            "fio-u-",              &[Run(PADDED, 60, 68)]),
    key("readme_key",               "rdme_",               &[Run(LOWER_NUM, 70, 70)]),
    key("okta_token",               "SSWS ",               &[Run(WORD, 40, 44)]).named().chance(),
    key("facebook_token",           "EAA",                 &[Run(ALNUM, 100, 400)]),
    key("vk_token",                 "vk1.a.",              &[Run(WORD, 80, 300)]),
    key("twitter_bearer",           "AAAAAAAAAAAAAAAAAAAAA", &[Run(ESCAPED, 60, 120)]).chance(),
    key("n8n_key",                  "n8n_api_",            &[Run(WORD, 40, 300)]).mixed(),
    key("retool_key",               "retool_01",           &[Run(LOWER_NUM, 24, 40)]).mixed(),
    key("zapier_secret",            "sk-zap-",             &[Run(WORD, 32, 80)]).mixed(),
    key("asana_token",              "1/",                  &[Run(DIGIT, 12, 18), Text(":"), Run(HEX, 32, 32)]),
    key("asana_token",              "2/",                  &[Run(DIGIT, 12, 18), Text("/"), Run(DIGIT, 12, 18), Text(":"), Run(HEX, 32, 32)]),
    key("nostr_key",                "nsec1",               &[Run(LOWER_NUM, 58, 58)]),
];
