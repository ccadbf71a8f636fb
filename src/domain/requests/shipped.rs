//! Prices as this version was shipped with them: dollars for a million tokens, as their providers
//! published them by [`AS_OF`], collected from the public table of genai-prices 0.2.3. Where a price
//! rises with the length of a question, it is that of short ones. What an operator configures or
//! imports comes first.

use super::price::Prices;

/// The day they were looked up.
pub const AS_OF: &str = "2026-11-20";

/// One price: service, model, and per million tokens: read, read from a cache, written to one,
/// written. An empty text is what the first says.
pub type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Every price, by service and model.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("anthropic", "claude-3-5-haiku-latest", "0.8", "0.08", "1", "4"),
    ("anthropic", "claude-3-5-sonnet", "3", "0.3", "3.75", "15"),
    ("anthropic", "claude-3-7-sonnet-latest", "3", "0.3", "3.75", "15"),
    ("anthropic", "claude-3-haiku", "0.25", "0.03", "0.3", "1.25"),
    ("anthropic", "claude-fable-5", "10", "1", "12.5", "50"),
    ("anthropic", "claude-fable-5-1", "10", "0.25", "12.5", "50"),
    ("anthropic", "claude-fable-5-2", "8", "0.2", "10", "40"),
    ("anthropic", "claude-haiku-4-5", "1", "0.1", "1.25", "5"),
    ("anthropic", "claude-haiku-5-5", "0.1", "0.01", "0.125", "0.5"),
    ("anthropic", "claude-mythos-5-2", "8", "0.2", "10", "40"),
    ("anthropic", "claude-opus-4-0", "15", "1.5", "18.75", "75"),
    ("anthropic", "claude-opus-4-1", "15", "1.5", "18.75", "75"),
    ("anthropic", "claude-opus-4-5", "5", "0.5", "6.25", "25"),
    ("anthropic", "claude-opus-4-6", "5", "0.5", "6.25", "25"),
    ("anthropic", "claude-opus-4-7", "5", "0.5", "6.25", "25"),
    ("anthropic", "claude-opus-4-8", "5", "0.5", "6.25", "25"),
    ("anthropic", "claude-opus-5", "5", "0.5", "6.25", "25"),
    ("anthropic", "claude-opus-5-5", "4", "0.2", "5", "20"),
    ("anthropic", "claude-sonnet-4-0", "3", "0.3", "3.75", "15"),
    ("anthropic", "claude-sonnet-4-5", "3", "0.3", "3.75", "15"),
    ("anthropic", "claude-sonnet-4-6", "3", "0.3", "3.75", "15"),
    ("anthropic", "claude-sonnet-5", "2", "0.2", "2.5", "10"),
    ("anthropic", "claude-sonnet-5-5", "2", "0.1", "2.5", "10"),
    ("cerebras", "gpt-oss-120b", "0.35", "", "", "0.75"),
    ("cerebras", "qwen-3.8-27b", "0.99", "", "", "1.49"),
    ("cohere", "c4ai-aya-expanse-32b", "0.5", "", "", "1.5"),
    ("cohere", "command", "1", "", "", "2"),
    ("cohere", "command-a", "2.5", "", "", "10"),
    ("cohere", "command-r", "0.15", "", "", "0.6"),
    ("cohere", "command-r-plus", "2.5", "", "", "10"),
    ("cohere", "command-r7b", "0.0375", "", "", "0.15"),
    ("deepseek", "deepseek-chat", "0.135", "0.035", "", "0.55"),
    ("deepseek", "deepseek-flash", "0.15", "0.003", "", "0.6"),
    ("deepseek", "deepseek-reasoner", "0.135", "0.035", "", "0.55"),
    ("deepseek", "deepseek-v3.1-terminus", "0.27", "0.13", "", "0.95"),
    ("deepseek", "deepseek-v3.2", "0.2288", "", "", "0.3432"),
    ("deepseek", "deepseek-v3.2-exp", "0.27", "", "", "0.41"),
    ("deepseek", "deepseek-v4-flash", "0.15", "0.003", "", "0.6"),
    ("deepseek", "deepseek-v4-pro", "0.66", "0.022", "", "1.98"),
    ("gemini", "claude-3-5-haiku", "0.8", "0.08", "1", "4"),
    ("gemini", "claude-3-5-sonnet", "3", "0.3", "3.75", "15"),
    ("gemini", "claude-3-7-sonnet", "3", "0.3", "3.75", "15"),
    ("gemini", "claude-3-haiku", "0.25", "0.03", "0.3", "1.25"),
    ("gemini", "claude-4-opus", "15", "1.5", "18.75", "75"),
    ("gemini", "claude-4-sonnet", "3", "0.3", "3.75", "15"),
    ("gemini", "claude-fable-5", "10", "1", "12.5", "50"),
    ("gemini", "claude-fable-5-1", "10", "0.25", "12.5", "50"),
    ("gemini", "claude-fable-5-2", "8", "0.2", "10", "40"),
    ("gemini", "claude-haiku-4-5", "1", "0.1", "1.25", "5"),
    ("gemini", "claude-haiku-5-5", "0.1", "0.01", "0.125", "0.5"),
    ("gemini", "claude-opus-4-5", "5", "0.5", "6.25", "25"),
    ("gemini", "claude-opus-4-6", "5", "0.5", "6.25", "25"),
    ("gemini", "claude-opus-4-7", "5", "0.5", "6.25", "25"),
    ("gemini", "claude-opus-4-8", "5", "0.5", "6.25", "25"),
    ("gemini", "claude-opus-5", "5", "0.5", "6.25", "25"),
    ("gemini", "claude-opus-5-5", "4", "0.2", "5", "20"),
    ("gemini", "claude-sonnet-4-5", "3", "0.3", "3.75", "15"),
    ("gemini", "claude-sonnet-4-6", "3", "0.3", "3.75", "15"),
    ("gemini", "claude-sonnet-5-5", "2", "0.1", "2.5", "10"),
    ("gemini", "gemini-1.5-flash", "0.075", "0.01875", "", "0.3"),
    ("gemini", "gemini-1.5-pro", "1.25", "", "", "5"),
    ("gemini", "gemini-2.5-flash", "0.3", "0.03", "", "2.5"),
    ("gemini", "gemini-2.5-flash-lite", "0.1", "0.01", "", "0.4"),
    ("gemini", "gemini-2.5-pro", "1.25", "0.125", "", "10"),
    ("gemini", "gemini-3-flash-preview", "0.5", "0.05", "", "3"),
    ("gemini", "gemini-3.1-flash-lite", "0.25", "0.025", "", "1.5"),
    ("gemini", "gemini-3.1-pro-preview", "2", "0.2", "", "12"),
    ("gemini", "gemini-3.5-flash", "1.5", "0.15", "", "9"),
    ("gemini", "gemini-3.5-flash-lite", "0.3", "0.03", "", "2.5"),
    ("gemini", "gemini-3.6-flash", "0.75", "0.075", "", "3.75"),
    ("gemini", "gemini-3.7-flash", "0.75", "0.075", "", "3.75"),
    ("gemini", "gemini-3.8-flash", "0.75", "0.075", "", "3.75"),
    ("gemini", "gemini-4-argon", "2", "0.1", "", "10"),
    ("gemini", "gemini-flash-1.5", "0.075", "0.01875", "", "0.3"),
    ("gemini", "gemini-flash-1.5-8b", "0.0375", "0.01", "", "0.15"),
    ("gemini", "gemini-nano-banana-2.1", "1.5", "", "", "7.5"),
    ("gemini", "gemini-omni-1.1-flash", "1.5", "", "", "9"),
    ("gemini", "gemini-omni-flash-preview", "1.5", "", "", "9"),
    ("gemini", "gemini-pro", "0.125", "", "", "0.375"),
    ("gemini", "gemini-pro-1.5", "1.25", "0.3125", "", "5"),
    ("gemini", "gemma-2-27b-it", "0.65", "", "", "0.65"),
    ("gemini", "gemma-4-26b-a4b-it-maas", "0.15", "0.015", "", "0.6"),
    ("groq", "deepseek-r1-distill-llama-70b", "0.75", "", "", "0.99"),
    ("groq", "gemma-7b-it", "0.07", "", "", "0.07"),
    ("groq", "gemma2-9b-it", "0.2", "", "", "0.2"),
    ("groq", "llama-3.1-405b-reasoning", "0.59", "", "", "0.79"),
    ("groq", "llama-3.1-70b-versatile", "0.59", "", "", "0.79"),
    ("groq", "llama-3.1-8b-instant", "0.05", "", "", "0.08"),
    ("groq", "llama-3.2-11b-text-preview", "0.18", "", "", "0.18"),
    ("groq", "llama-3.2-1b-preview", "0.04", "", "", "0.04"),
    ("groq", "llama-3.2-3b-preview", "0.06", "", "", "0.06"),
    ("groq", "llama-3.2-90b-text-preview", "0.9", "", "", "0.9"),
    ("groq", "llama-3.3-70b-specdec", "0.59", "", "", "0.99"),
    ("groq", "llama-3.3-70b-versatile", "0.59", "", "", "0.79"),
    ("groq", "llama2-70b-4096", "0.7", "", "", "0.8"),
    ("groq", "llama3-70b-8192", "0.59", "", "", "0.79"),
    ("groq", "llama3-8b-8192", "0.05", "", "", "0.08"),
    ("groq", "llama3-groq-70b-8192-tool-use-preview", "0.89", "", "", "0.89"),
    ("groq", "llama3-groq-8b-8192-tool-use-preview", "0.19", "", "", "0.19"),
    ("groq", "meta-llama/llama-4-maverick-17b-128e-instruct", "0.2", "", "", "0.6"),
    ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "0.11", "", "", "0.34"),
    ("groq", "mixtral-8x7b-32768", "0.24", "", "", "0.24"),
    ("groq", "moonshotai/kimi-k2-instruct", "1", "0.5", "", "3"),
    ("groq", "openai/gpt-oss-120b", "0.15", "0.075", "", "0.6"),
    ("groq", "openai/gpt-oss-20b", "0.075", "0.0375", "", "0.3"),
    ("groq", "qwen/qwen3-32b", "0.29", "", "", "0.59"),
    ("groq", "qwen/qwen3.8-27b", "0.8", "", "", "4"),
    ("minimax", "M2-her", "0.3", "", "", "1.2"),
    ("minimax", "MiniMax-M2", "0.3", "0.03", "0.375", "1.2"),
    ("minimax", "MiniMax-M2.1-highspeed", "0.6", "0.03", "0.375", "2.4"),
    ("minimax", "MiniMax-M2.5-highspeed", "0.6", "0.03", "0.375", "2.4"),
    ("minimax", "MiniMax-M2.7", "0.3", "0.06", "0.375", "1.2"),
    ("minimax", "MiniMax-M2.7-highspeed", "0.6", "0.06", "0.375", "2.4"),
    ("minimax", "MiniMax-M3.1-Flash", "0.15", "0.015", "", "0.6"),
    ("minimax", "minimax-01", "0.2", "", "", "1.1"),
    ("minimax", "minimax-m1", "0.4", "", "", "2.2"),
    ("minimax", "minimax-m3", "0.3", "0.06", "", "1.2"),
    ("mistral", "codestral", "0.3", "", "", "0.9"),
    ("mistral", "codestral-2508", "0.3", "0.03", "", "0.9"),
    ("mistral", "deepseek-v4-1-flash-1017", "0.3", "0.007", "", "1.2"),
    ("mistral", "ministral-14b-2512", "0.2", "0.02", "", "0.2"),
    ("mistral", "ministral-3b", "0.04", "", "", "0.04"),
    ("mistral", "ministral-3b-2512", "0.1", "0.01", "", "0.1"),
    ("mistral", "ministral-8b", "0.1", "", "", "0.1"),
    ("mistral", "ministral-8b-2512", "0.15", "0.015", "", "0.15"),
    ("mistral", "ministral-8b-latest", "0.15", "0.015", "", "0.15"),
    ("mistral", "mistral-7b", "0.25", "", "", "0.25"),
    ("mistral", "mistral-large", "2", "", "", "6"),
    ("mistral", "mistral-large-2512", "0.5", "0.05", "", "1.5"),
    ("mistral", "mistral-large-4", "0.7", "0.07", "", "2.1"),
    ("mistral", "mistral-medium-2312", "2.7", "", "", "8.1"),
    ("mistral", "mistral-medium-3-1", "0.4", "0.04", "", "2"),
    ("mistral", "mistral-medium-3-5", "1.5", "0.15", "", "7.5"),
    ("mistral", "mistral-medium-latest", "1.5", "0.15", "", "7.5"),
    ("mistral", "mistral-small-24b-instruct-2501", "0.05", "", "", "0.08"),
    ("mistral", "mistral-small-2603", "0.15", "0.015", "", "0.6"),
    ("mistral", "mistral-small-3.1-24b-instruct", "0.351", "", "", "0.555"),
    ("mistral", "mistral-small-3.2-24b-instruct", "0.1", "", "", "0.3"),
    ("mistral", "mistral-small-latest", "0.15", "0.015", "", "0.6"),
    ("mistral", "mixtral-8x22b-instruct", "2", "", "", "6"),
    ("mistral", "mixtral-8x7b", "0.7", "", "", "0.7"),
    ("mistral", "zai-glm-5-3", "1.4", "0.14", "", "4.4"),
    ("mistral", "zai-glm-5-3-flash", "0.15", "0.03", "", "0.5"),
    ("moonshot", "kimi-k2.6", "0.95", "0.16", "", "4"),
    ("moonshot", "kimi-k2.7-code", "0.95", "0.19", "", "4"),
    ("moonshot", "kimi-k2.7-code-highspeed", "1.9", "0.38", "", "8"),
    ("moonshot", "kimi-k3", "3", "0.3", "3", "15"),
    ("moonshot", "kimi-k3.1-pro", "2", "0.2", "2", "10"),
    ("moonshot", "kimi-k3.1-pro-highspeed", "4", "0.2", "4", "20"),
    ("openai", "chatgpt-4o-latest", "5", "", "", "15"),
    ("openai", "codex-mini", "1.5", "0.375", "", "6"),
    ("openai", "gpt-4", "30", "", "", "60"),
    ("openai", "gpt-4.1", "2", "0.5", "", "8"),
    ("openai", "gpt-4.1-mini", "0.4", "0.1", "", "1.6"),
    ("openai", "gpt-4.1-nano", "0.1", "0.025", "", "0.4"),
    ("openai", "gpt-4.5-preview", "75", "37.5", "", "150"),
    ("openai", "gpt-4o", "2.5", "1.25", "", "10"),
    ("openai", "gpt-4o-2024-05-13", "5", "", "", "15"),
    ("openai", "gpt-4o-mini", "0.15", "0.075", "", "0.6"),
    ("openai", "gpt-4o-search-preview", "2.5", "", "", "10"),
    ("openai", "gpt-5", "1.25", "0.125", "", "10"),
    ("openai", "gpt-5-mini", "0.25", "0.025", "", "2"),
    ("openai", "gpt-5-nano", "0.05", "0.005", "", "0.4"),
    ("openai", "gpt-5-pro", "15", "", "", "120"),
    ("openai", "gpt-5.1", "1.25", "0.125", "", "10"),
    ("openai", "gpt-5.1-codex-mini", "0.25", "0.025", "", "2"),
    ("openai", "gpt-5.2", "1.75", "0.175", "", "14"),
    ("openai", "gpt-5.2-pro", "21", "", "", "168"),
    ("openai", "gpt-5.3", "1.75", "0.175", "", "14"),
    ("openai", "gpt-5.3-codex", "1.75", "0.175", "", "14"),
    ("openai", "gpt-5.4", "2.5", "0.25", "", "15"),
    ("openai", "gpt-5.4-mini", "0.75", "0.075", "", "4.5"),
    ("openai", "gpt-5.4-nano", "0.2", "0.02", "", "1.25"),
    ("openai", "gpt-5.4-pro", "30", "", "", "180"),
    ("openai", "gpt-5.5", "5", "0.5", "", "30"),
    ("openai", "gpt-5.5-pro", "30", "", "", "180"),
    ("openai", "gpt-5.6-luna", "0.2", "0.02", "0.25", "1.2"),
    ("openai", "gpt-5.6-sol", "4", "0.4", "5", "20"),
    ("openai", "gpt-5.6-terra", "2", "0.2", "2.5", "12"),
    ("openai", "gpt-6-astra", "10", "1", "12.5", "50"),
    ("openai", "gpt-6-luna", "0.1", "0.01", "0.125", "0.5"),
    ("openai", "gpt-6-sol", "2", "0.2", "2.5", "10"),
    ("openai", "gpt-6.1-sol", "2", "0.1", "2.5", "10"),
    ("openai", "gpt-6.1-terra", "1", "0.05", "1.25", "5"),
    ("openai", "gpt-chat-latest", "5", "0.5", "", "30"),
    ("openai", "gpt-oss-120b", "0.039", "", "", "0.18"),
    ("openai", "gpt-oss-20b", "0.029", "", "", "0.14"),
    ("openai", "o1", "15", "7.5", "", "60"),
    ("openai", "o1-mini", "1.1", "0.55", "", "4.4"),
    ("openai", "o1-preview", "15", "7.5", "", "60"),
    ("openai", "o1-pro", "150", "", "", "600"),
    ("openai", "o3", "2", "0.5", "", "8"),
    ("openai", "o3-deep-research", "10", "2.5", "", "40"),
    ("openai", "o3-mini", "1.1", "0.55", "", "4.4"),
    ("openai", "o3-pro", "20", "", "", "80"),
    ("openai", "o4-mini", "1.1", "0.275", "", "4.4"),
    ("openai", "o4-mini-deep-research", "2", "0.5", "", "8"),
    ("openai", "text-embedding-3-large", "0.13", "", "", "0"),
    ("openai", "text-embedding-3-small", "0.02", "", "", "0"),
    ("openai", "text-embedding-ada-002", "0.1", "", "", "0"),
    ("perplexity", "llama-3.1-sonar-large-128k-online", "1", "", "", "1"),
    ("perplexity", "llama-3.1-sonar-small-128k-online", "0.2", "", "", "0.2"),
    ("perplexity", "pplx-decider-flash-v1.2", "0.01", "", "", "0"),
    ("perplexity", "pplx-decider-v1-27b", "0.02", "", "", "0"),
    ("perplexity", "pplx-decider-v1.1-27b", "0.02", "", "", "0"),
    ("perplexity", "pplx-decider-v1.2", "0.02", "", "", "0"),
    ("perplexity", "r1-1776", "2", "", "", "8"),
    ("perplexity", "sonar", "1", "", "", "1"),
    ("perplexity", "sonar-deep-research", "2", "", "", "8"),
    ("perplexity", "sonar-pro", "3", "", "", "15"),
    ("perplexity", "sonar-pro-search", "3", "", "", "15"),
    ("perplexity", "sonar-reasoning", "1", "", "", "5"),
    ("perplexity", "sonar-reasoning-pro", "2", "", "", "8"),
    ("sandbox", "sandbox", "0.15", "0.075", "", "0.6"),
    ("sandbox", "sandbox-large", "3", "0.3", "3.75", "15"),
    ("xai", "grok-3", "3", "0.75", "", "15"),
    ("xai", "grok-3-fast", "5", "1.25", "", "25"),
    ("xai", "grok-3-mini", "0.3", "0.075", "", "0.5"),
    ("xai", "grok-3-mini-fast", "0.6", "0.15", "", "4"),
    ("xai", "grok-4-0709", "3", "0.75", "", "15"),
    ("xai", "grok-4-1-fast-non-reasoning", "0.2", "0.05", "", "0.5"),
    ("xai", "grok-4-1-fast-reasoning", "0.2", "0.05", "", "0.5"),
    ("xai", "grok-4-fast-non-reasoning", "0.2", "0.05", "", "0.5"),
    ("xai", "grok-4-fast-reasoning", "0.2", "0.05", "", "0.5"),
    ("xai", "grok-4.20", "1.25", "0.2", "", "2.5"),
    ("xai", "grok-4.20-multi-agent-0309", "1.25", "0.2", "", "2.5"),
    ("xai", "grok-4.3", "1.25", "0.2", "", "2.5"),
    ("xai", "grok-4.5", "2", "0.3", "", "6"),
    ("xai", "grok-4.6", "2", "0.5", "", "6"),
    ("xai", "grok-4.7", "2", "0.5", "", "6"),
    ("xai", "grok-build-0.1", "1", "0.2", "", "2"),
    ("xai", "grok-code-fast-1", "0.2", "0.02", "", "1.5"),
    ("zai", "GLM-4-32B-0414-128K", "0.1", "", "", "0.1"),
    ("zai", "GLM-4.5", "0.6", "0.11", "", "2.2"),
    ("zai", "GLM-4.5-Air", "0.2", "0.03", "", "1.1"),
    ("zai", "GLM-4.5-AirX", "1.1", "0.22", "", "4.5"),
    ("zai", "GLM-4.5-X", "2.2", "0.45", "", "8.9"),
    ("zai", "GLM-4.5V", "0.6", "0.11", "", "1.8"),
    ("zai", "GLM-4.6", "0.6", "0.11", "", "2.2"),
    ("zai", "GLM-4.6V", "0.3", "0.05", "", "0.9"),
    ("zai", "GLM-4.6V-FlashX", "0.04", "0.004", "", "0.4"),
    ("zai", "GLM-4.7", "0.6", "0.11", "", "2.2"),
    ("zai", "GLM-4.7-FlashX", "0.07", "0.01", "", "0.4"),
    ("zai", "GLM-5", "1", "0.2", "", "3.2"),
    ("zai", "GLM-5.1", "1.4", "0.26", "", "4.4"),
    ("zai", "GLM-5.2", "1.4", "0.26", "", "4.4"),
    ("zai", "GLM-5.3", "1.4", "0.26", "", "4.4"),
    ("zai", "GLM-5.3-Flash", "0.15", "0.03", "", "0.5"),
    ("zai", "GLM-5.3-FlashX", "0.37", "0.075", "", "1.25"),
    ("zai", "GLM-OCR", "0.03", "", "", "0.03"),
];

/// What a row says.
pub fn prices(row: &Row) -> Option<Prices> {
    let (_, _, input, cached, written, output) = *row;
    let maybe = |text: &str| match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    Some(Prices {
        input: input.parse().ok()?,
        cached_input: maybe(cached)?,
        cache_write: maybe(written)?,
        output: output.parse().ok()?,
        reasoning: None,
        request: None,
    })
}

/// The price of a model at a service, or wherever it is known first. A dated name of a model costs
/// what its name costs.
pub fn find(service: &str, model: &str) -> Option<Prices> {
    let row = row(service, model).or_else(|| row(service, undated(model)));
    row.and_then(prices)
}

fn row(service: &str, model: &str) -> Option<&'static Row> {
    let mut named = ROWS.iter().filter(|row| row.1 == model);
    let here = named.clone().find(|row| row.0 == service);
    here.or_else(|| named.next())
}

/// The name without the day or the word for its newest version at its end.
pub fn undated(model: &str) -> &str {
    if let Some(name) = model.strip_suffix("-latest") {
        return name;
    }
    let is_date = |text: &str, wanted: &[usize]| {
        let parts: Vec<&str> = text.split('-').collect();
        let digits = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        parts.iter().all(digits) && lengths == wanted
    };
    for (bytes, wanted) in [(11, &[4, 2, 2][..]), (9, &[8])] {
        let at = model.len().checked_sub(bytes);
        let split = at.and_then(|at| Some((model.get(..at)?, model.get(at..)?)));
        if let Some((name, end)) = split
            && let Some(date) = end.strip_prefix('-')
            && is_date(date, wanted)
        {
            return name;
        }
    }
    model
}

/// The models of a service.
pub fn models(service: &str) -> impl Iterator<Item = &'static str> {
    let of = ROWS.iter().filter(move |row| row.0 == service);
    of.map(|row| row.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_price_and_none_is_twice() {
        assert!(ROWS.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
        for row in ROWS {
            assert!(prices(row).is_some(), "{row:?}");
        }
        let mini = find("openai", "gpt-4o-mini").unwrap();
        assert_eq!(find("somebody", "gpt-4o-mini"), Some(mini));
        assert_eq!(find("openai", "nothing"), None);
        assert_eq!(find("openai", "gpt-4o-mini-2024-07-18"), Some(mini));
    }

    #[test]
    #[rustfmt::skip]
    fn a_date_is_no_part_of_a_name() {
        for (model, name) in [
            ("gpt-4o-2024-08-06",          "gpt-4o"),
            ("claude-haiku-4-5-20251001",  "claude-haiku-4-5"),
            ("mistral-large-latest",       "mistral-large"),
            ("gpt-4.1",                    "gpt-4.1"),
            ("claude-opus-4-1",            "claude-opus-4-1"),
            ("x",                          "x"),
        ] {
            assert_eq!(undated(model), name);
        }
    }
}
