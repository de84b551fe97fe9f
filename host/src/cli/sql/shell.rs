//! The interactive shell.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use reedline::{
    ColumnarMenu, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Prompt, PromptEditMode,
    PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal, default_emacs_keybindings,
};

use super::complete::{Colours, Names, UntilSemicolon, WordCompleter};
use super::helpers::{HELP, Helper, parse};
use super::lex::is_word;
use super::{RowFormat, execute};
use crate::base::Error;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::output::duration;
use crate::cli::report::{Interrupted, describe};
use crate::server::Role;

/// Statements that the history keeps.
const HISTORY_LINES: usize = 10_000;

/// Name of the menu of completions.
const MENU: &str = "completions";

/// Reads statements and executes them until the user leaves.
pub(crate) fn open(context: &Context, mut format: RowFormat) -> Result<()> {
    let connection = context.creating_connection(Role::Command)?;
    if !context.quiet {
        let holder = connection.remote_holder().map(|h| format!(", held by process {}", h.pid)).unwrap_or_default();
        eprintln!("quern {} on {}{holder}", env!("CARGO_PKG_VERSION"), context.folder.display());
        eprintln!("{}", context.err.dim("\\? for help, \\q to leave"));
    }
    let names = Names::default();
    names.refresh(context);
    let mut editor = editor(context, names.clone());
    interrupt::listen();
    loop {
        interrupt::reset();
        let line = match editor.read_line(&QuernPrompt)? {
            Signal::Success(line) => line,
            Signal::CtrlD => return Ok(()),
            _ => continue,
        };
        match handle(context, &line, &mut format) {
            Ok(Next::Leave) => return Ok(()),
            Ok(Next::Stay) => names.refresh(context),
            Err(error) if error.is::<Interrupted>() => {
                // What became of a run that it waited for was said.
                eprintln!("{}", context.err.dim("stopped"));
            }
            Err(error) => eprint!("{}", describe(&error, context.err)),
        }
    }
}

/// What to do after a line.
enum Next {
    Stay,
    Leave,
}

fn handle(context: &Context, line: &str, format: &mut RowFormat) -> Result<Next> {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Ok(Next::Stay);
    }
    let statement = if trimmed.starts_with('\\') || is_word(trimmed) {
        match parse(trimmed)? {
            Helper::Quit => return Ok(Next::Leave),
            Helper::Help => {
                context.print(HELP)?;
                return Ok(Next::Stay);
            }
            Helper::Format(chosen) => {
                *format = chosen;
                return Ok(Next::Stay);
            }
            Helper::Turn => {
                *format = if *format == RowFormat::Lines { RowFormat::Table } else { RowFormat::Lines };
                return Ok(Next::Stay);
            }
            Helper::File(file) => std::fs::read_to_string(&file).map_err(|e| Error::io("read", file, e))?,
            Helper::Statement(statement) => statement,
        }
    } else {
        trimmed.to_owned()
    };
    let started = Instant::now();
    execute(context, &statement, *format)?;
    context.note(&duration(started.elapsed()));
    Ok(Next::Stay)
}

fn editor(context: &Context, names: Names) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let complete = ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, complete);
    let menu = ColumnarMenu::default().with_name(MENU);
    let editor = Reedline::create()
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_completer(Box::new(WordCompleter(names)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_highlighter(Box::new(Colours { on: context.out.is_on() }))
        .with_validator(Box::new(UntilSemicolon))
        .with_ansi_colors(context.out.is_on());
    match history(context) {
        Some(history) => editor.with_history(Box::new(history)),
        None => editor,
    }
}

/// The history's file: with the user's other state, else in the folder.
fn history(context: &Context) -> Option<FileBackedHistory> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    let file = state.map_or_else(|| context.folder.join("quern.history"), |state| state.join("quern/history"));
    FileBackedHistory::with_file(HISTORY_LINES, file).ok()
}

/// `quern>`, and dots on further lines.
struct QuernPrompt;

impl Prompt for QuernPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("quern")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("     · ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("history `{}` ", search.term))
    }
}
