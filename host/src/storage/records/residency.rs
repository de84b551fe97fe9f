//! What was said about where the columns of a table stay.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::params;

use crate::base::{Residency, Result, TableId};
use crate::storage::connections::{U, sql};
use crate::storage::{Storage, TableState, Write};

impl Write {
    /// Notes where the columns of a table stay from now on. It holds for all of its
    /// states and goes with the table.
    pub fn set_residency(&mut self, table: &Arc<TableState>, residency: Residency) {
        self.expect_table(table);
        let id = table.id;
        self.record(move |connection| {
            let text = "INSERT INTO quern_residency (table_id, residency) VALUES (?1, ?2) \
                        ON CONFLICT DO UPDATE SET residency = excluded.residency";
            sql(connection.execute(text, params![U(id.0), residency.word()])).map(drop)
        });
    }
}

impl Storage {
    /// Where the columns of tables stay, of those about which something was said.
    pub fn residencies(&self) -> Result<HashMap<TableId, Residency>> {
        self.read(|connection| {
            let mut statement = sql(connection.prepare("SELECT table_id, residency FROM quern_residency"))?;
            let rows = sql(statement.query_map([], |row| Ok((row.get::<_, U>(0)?, row.get::<_, String>(1)?))))?;
            // A word of a newer program is as if nothing was said.
            let known = rows.map(|row| row.map(|(id, word)| (TableId(id.0), word.parse().unwrap_or_default())));
            sql(known.collect::<rusqlite::Result<_>>())
        })
    }
}
