//! `quern devices`.

use anyhow::Result;
use clap::Args;

use super::context::Context;
use super::output::{Align, Grid, bytes, count};
use crate::device::{Listed, Use, list};
use crate::server::Request;

const EXAMPLES: &str = "\
Examples:
  quern devices
  quern --data ./quern-data devices --json

The columns of memory are those of the table quern.devices. Where CUDA's libraries
lie at an unusual place, name their folder in $QUERN_CUDA_LIBS.";

/// List the devices for tables and tensors, and why there is no GPU
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Devices {}

impl Devices {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        // The machine can be asked about before there is a folder.
        let devices = if context.folder.exists() { of_folder(context)? } else { list(None) };
        if context.json {
            return context.print_json(&devices);
        }
        let mut grid = Grid::new([
            ("device", Align::Left),
            ("state", Align::Left),
            ("model", Align::Left),
            ("cores", Align::Right),
            ("memory", Align::Right),
            ("tables", Align::Right),
            ("programs", Align::Right),
            ("free", Align::Right),
        ]);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        for device in &devices {
            grid.row([
                device.name.clone(),
                device.state.to_string(),
                or_dash(device.model.clone()),
                or_dash(device.cores.map(count)),
                or_dash(device.memory_bytes.map(bytes)),
                or_dash(device.tables_bytes.map(bytes)),
                or_dash(device.programs_bytes.map(bytes)),
                or_dash(device.free_bytes.map(bytes)),
            ]);
        }
        context.print(&grid.render(context.out))?;
        for device in devices.iter().filter(|device| device.state == Use::Absent) {
            context.note(&format!("no {}: {}", device.name, device.reason.as_deref().unwrap_or_default()));
        }
        Ok(())
    }
}

/// The devices with what the folder's holder uses of them.
fn of_folder(context: &Context) -> Result<Vec<Listed>> {
    Ok(context.asking_connection()?.ask(Request::Devices)?.devices()?)
}
