//! Known services: naming one and giving its key is enough.
//!
//! A row says where a service answers, in which format, which variable its key is usually in, and
//! what it is particular about. A service that is not here is configured by its address.

use super::{Format, Manner};

/// A known service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its name, as it is configured.
    pub name: &'static str,
    /// Where it answers.
    pub base_url: &'static str,
    /// How it is talked to.
    pub format: Format,
    /// The variable its key is usually in; empty where it needs none.
    pub key_variable: &'static str,
    /// What it is particular about.
    pub manner: Manner,
}

impl Known {
    /// Whether it runs on this machine, and is no service of others.
    pub fn is_local(&self) -> bool {
        self.base_url.starts_with("http://127.0.0.1")
    }
}

const USUAL: Manner = Manner {
    completion_tokens: false,
    bare: false,
};
const COMPLETION: Manner = Manner {
    completion_tokens: true,
    bare: false,
};
const BARE: Manner = Manner {
    completion_tokens: false,
    bare: true,
};

const fn openai(name: &'static str, base_url: &'static str, key_variable: &'static str) -> Known {
    Known {
        name,
        base_url,
        format: Format::OpenAi,
        key_variable,
        manner: USUAL,
    }
}

const fn other(
    name: &'static str,
    base_url: &'static str,
    format: Format,
    key_variable: &'static str,
) -> Known {
    Known {
        name,
        base_url,
        format,
        key_variable,
        manner: USUAL,
    }
}

/// Every known service, by name.
#[rustfmt::skip]
pub const KNOWN: &[Known] = &[
    openai("aimlapi",       "https://api.aimlapi.com/v1",                     "AIML_API_KEY"),
    other("anthropic",      "https://api.anthropic.com", Format::Anthropic,   "ANTHROPIC_API_KEY"),
    openai("baseten",       "https://inference.baseten.co/v1",                "BASETEN_API_KEY"),
    openai("cerebras",      "https://api.cerebras.ai/v1",                     "CEREBRAS_API_KEY"),
    openai("chutes",        "https://llm.chutes.ai/v1",                       "CHUTES_API_KEY"),
    openai("cohere",        "https://api.cohere.ai/compatibility/v1",         "COHERE_API_KEY"),
    openai("dashscope",     "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    openai("deepinfra",     "https://api.deepinfra.com/v1/openai",            "DEEPINFRA_API_KEY"),
    openai("deepseek",      "https://api.deepseek.com/v1",                    "DEEPSEEK_API_KEY"),
    openai("featherless",   "https://api.featherless.ai/v1",                  "FEATHERLESS_API_KEY"),
    openai("fireworks",     "https://api.fireworks.ai/inference/v1",          "FIREWORKS_API_KEY"),
    openai("friendli",      "https://api.friendli.ai/serverless/v1",          "FRIENDLI_TOKEN"),
    openai("gemini",        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    openai("github",        "https://models.github.ai/inference",          "GITHUB_TOKEN"),
    openai("groq",          "https://api.groq.com/openai/v1",                 "GROQ_API_KEY"),
    openai("huggingface",   "https://router.huggingface.co/v1",               "HF_TOKEN"),
    openai("hyperbolic",    "https://api.hyperbolic.xyz/v1",                  "HYPERBOLIC_API_KEY"),
    openai("inception",     "https://api.inceptionlabs.ai/v1",                "INCEPTION_API_KEY"),
    openai("lambda",        "https://api.lambda.ai/v1",                       "LAMBDA_API_KEY"),
    openai("llamacpp",      "http://127.0.0.1:8080/v1",                       ""),
    openai("lmstudio",      "http://127.0.0.1:1234/v1",                       ""),
    openai("minimax",       "https://api.minimax.io/v1",                      "MINIMAX_API_KEY"),
    openai("mistral",       "https://api.mistral.ai/v1",                      "MISTRAL_API_KEY"),
    openai("moonshot",      "https://api.moonshot.ai/v1",                     "MOONSHOT_API_KEY"),
    openai("nebius",        "https://api.studio.nebius.com/v1",               "NEBIUS_API_KEY"),
    openai("novita",        "https://api.novita.ai/v3/openai",                "NOVITA_API_KEY"),
    openai("nvidia",        "https://integrate.api.nvidia.com/v1",            "NVIDIA_API_KEY"),
    other("ollama",         "http://127.0.0.1:11434", Format::Ollama,         ""),
    Known { name: "openai", base_url: "https://api.openai.com/v1", format: Format::OpenAi, key_variable: "OPENAI_API_KEY", manner: COMPLETION },
    other("openai-responses", "https://api.openai.com/v1", Format::Responses, "OPENAI_API_KEY"),
    openai("openrouter",    "https://openrouter.ai/api/v1",                   "OPENROUTER_API_KEY"),
    Known { name: "perplexity", base_url: "https://api.perplexity.ai", format: Format::OpenAi, key_variable: "PERPLEXITY_API_KEY", manner: BARE },
    openai("sambanova",     "https://api.sambanova.ai/v1",                    "SAMBANOVA_API_KEY"),
    openai("sglang",        "http://127.0.0.1:30000/v1",                      ""),
    openai("siliconflow",   "https://api.siliconflow.com/v1",                 "SILICONFLOW_API_KEY"),
    openai("together",      "https://api.together.xyz/v1",                    "TOGETHER_API_KEY"),
    openai("vercel",        "https://ai-gateway.vercel.sh/v1",                "AI_GATEWAY_API_KEY"),
    openai("vllm",          "http://127.0.0.1:8000/v1",                       ""),
    openai("xai",           "https://api.x.ai/v1",                            "XAI_API_KEY"),
    openai("zai",           "https://api.z.ai/api/paas/v4",                   "ZAI_API_KEY"),
];

/// The service of this name.
pub fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_one_name_and_a_whole_address() {
        assert!(KNOWN.len() >= 31);
        assert!(KNOWN.is_sorted_by(|a, b| a.name < b.name));
        for service in KNOWN {
            let url = url::Url::parse(service.base_url).unwrap();
            assert!(
                url.scheme() == "https" || service.is_local(),
                "{}",
                service.name
            );
            assert_eq!(
                service.key_variable.is_empty(),
                service.is_local(),
                "{}",
                service.name
            );
            assert!(!service.base_url.ends_with('/'), "{}", service.name);
        }
        assert_eq!(
            known("openai").map(|known| known.key_variable),
            Some("OPENAI_API_KEY")
        );
        assert_eq!(known("nobody"), None);
    }
}
