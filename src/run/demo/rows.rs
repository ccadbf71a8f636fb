//! The story's last part: a tool of the operator's own that writes a row, bound to the row that was
//! shown. A second hand changes the row between the two steps.

use crate::entry::cli::Failure;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use super::{Story, TempFolder, word};

/// The file in the folder of sources.
const FILE: &str = "shop.db";

impl Story<'_> {
    pub(super) async fn a_row_as_it_was_shown(
        &mut self,
        sources: &TempFolder,
    ) -> Result<(), Failure> {
        let path = sources.0.join(FILE);
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut shop = SqliteConnection::connect(&url).await.map_err(Failure::of)?;
        for text in [
            "create table invoices (id integer primary key, total integer)",
            "insert into invoices values (7, 500)",
        ] {
            shop.execute(text).await.map_err(Failure::of)?;
        }
        self.register(&path.to_string_lossy()).await?;

        self.say(
            "9. A tool of the operator's own would lower an invoice; it shows the row first.",
        )?;
        let arguments = json!({"id": 7});
        let shown = self.lower(&arguments).await?;
        self.say(&format!("   before: {}", shown["effect"]["before"]["rows"]))?;
        self.say("   another hand changes that row; then the agent commits")?;
        let text = "update invoices set total = 800 where id = 7";
        shop.execute(text).await.map_err(Failure::of)?;
        let refused = self.commit_row(&shown, &arguments).await?;
        self.say(&format!("   {}", word(&refused, "reason")))?;
        self.row(
            "the row changed meanwhile",
            "precondition_failed",
            word(&refused, "reason"),
        );

        self.say("10. It proposes again and commits, twice.")?;
        let shown = self.lower(&arguments).await?;
        let done = self.commit_row(&shown, &arguments).await?;
        let again = self.commit_row(&shown, &arguments).await?;
        let total: i64 = sqlx::query_scalar("select total from invoices where id = 7")
            .fetch_one(&mut shop)
            .await
            .map_err(Failure::of)?;
        self.say(&format!(
            "   {}, then {}; the row says {total}",
            word(&done, "status"),
            word(&again, "reason")
        ))?;
        self.row("proposed again", "committed", word(&done, "status"));
        self.row("the row, lowered by 10", "790", &total.to_string());
        Ok(())
    }

    /// The source and the tool, as an operator registers them.
    async fn register(&self, path: &str) -> Result<(), Failure> {
        let post = reqwest::Method::POST;
        let source = json!({"name": "shop", "kind": "sqlite", "config": {"path": path}});
        self.rest(post.clone(), "/v1/sources", source).await?;
        self.rest(post.clone(), "/v1/sources/shop/prepare", json!({}))
            .await?;
        let tool = json!({
            "name": "lower_invoice", "kind": "sql", "source": "shop", "risk": "high",
            "description": "Lowers one invoice by 10.",
            "input_schema": {
                "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
            },
            "exec": {
                "statement": "update invoices set total = total - 10 where id = :id",
                "preview": "select id, total from invoices where id = :id",
                "expect_rows": {"min": 1, "max": 1},
            },
        });
        self.rest(post, "/v1/tools", tool).await?;
        Ok(())
    }

    async fn lower(&mut self, arguments: &Value) -> Result<Value, Failure> {
        self.call("lower_invoice_propose", json!({"arguments": arguments}))
            .await
    }

    async fn commit_row(&mut self, proposed: &Value, arguments: &Value) -> Result<Value, Failure> {
        let commit = json!({
            "proposal_id": proposed["proposal_id"], "commit_token": proposed["commit_token"],
            "arguments": arguments,
        });
        self.call("lower_invoice_commit", commit).await
    }
}
