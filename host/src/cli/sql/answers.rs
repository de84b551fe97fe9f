//! Answers as they come: the request is made in a thread of its own, so that
//! rows can be taken one batch after the other and Ctrl-C works meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use arrow::record_batch::RecordBatch;

use super::waiting::Waiting;
use crate::base::Error;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::report::Interrupted;
use crate::server::{Connection, Event, Failure, Request};
use crate::sql::{Done, Rows, Watch};

/// Events on their way; more wait until some were shown.
const EVENTS_AHEAD: usize = 4;

/// How often to look for Ctrl-C while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What one statement answers.
pub(crate) enum Item {
    /// Rows, made as they are taken.
    Rows(Rows),
    /// The statement is done.
    Done(Done),
}

/// The answers to the statements of one request, which ends when this is dropped.
pub(crate) struct Answers {
    stream: Arc<Stream>,
    given_up: Arc<AtomicBool>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// Events of the request. An event that ends rows is put back for the next answer.
struct Stream {
    receiver: Mutex<Receiver<Message>>,
    put_back: Mutex<Option<Event>>,
    /// Why rows ended early.
    failed: Mutex<Option<anyhow::Error>>,
    waiting: Mutex<Waiting>,
}

enum Message {
    Event(Event),
    End(Result<(), Failure>),
}

impl Answers {
    /// Asks for `text` to be executed.
    pub(crate) fn of(context: &Context, text: &str) -> Result<Self> {
        let connection = context.shared_connection()?;
        let waiting = Waiting::new(context, connection.clone());
        let (send, receiver) = sync_channel(EVENTS_AHEAD);
        let request = Request::Sql { text: text.to_owned() };
        let given_up = Arc::new(AtomicBool::new(false));
        let watch = watch(&given_up);
        std::thread::Builder::new().name("quern-sql".into()).spawn(move || ask(&connection, request, &watch, &send))?;
        let stream = Stream {
            receiver: Mutex::new(receiver),
            put_back: Mutex::default(),
            failed: Mutex::default(),
            waiting: Mutex::new(waiting),
        };
        Ok(Self { stream: Arc::new(stream), given_up })
    }

    /// The next answer; rows of the one before that were not taken are skipped.
    fn next(&self) -> Result<Option<Item>> {
        loop {
            return Ok(Some(match self.stream.next()? {
                Some(Event::Schema(schema)) => {
                    let stream = self.stream.clone();
                    Item::Rows(Rows::new(schema, std::iter::from_fn(move || stream.next_batch().transpose())))
                }
                Some(Event::Done(done)) => Item::Done(done),
                // Told to `waiting`.
                Some(_) => continue,
                None => return Ok(None),
            }));
        }
    }

    /// Gives each answer to `show`, one after the other.
    pub(crate) fn each(&self, mut show: impl FnMut(Item) -> Result<()>) -> Result<()> {
        while let Some(item) = self.next()? {
            show(item)?;
        }
        Ok(())
    }

    /// The error that ended rows early, where that is why writing them failed.
    pub(crate) fn cause(&self, writing: Error) -> anyhow::Error {
        let cause = self.stream.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        cause.unwrap_or_else(|| writing.into())
    }
}

impl Stream {
    fn next(&self) -> Result<Option<Event>> {
        if let Some(event) = self.put_back.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(Some(event));
        }
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let came = loop {
            match receiver.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) if !interrupt::asked() => waiting.goes_on(),
                came => break came,
            }
        };
        waiting.is_over();
        match came {
            Ok(Message::Event(event)) => {
                waiting.came(&event);
                Ok(Some(event))
            }
            Ok(Message::End(end)) => Ok(end.map(|()| None)?),
            Err(RecvTimeoutError::Timeout) => {
                waiting.is_given_up();
                Err(Interrupted.into())
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// The next rows; none where the answer ends.
    fn next_batch(&self) -> crate::base::Result<Option<RecordBatch>> {
        match self.next() {
            Ok(Some(Event::Batch(batch))) => Ok(Some(batch)),
            Ok(Some(other)) => {
                *self.put_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(other);
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(error) => {
                let text = error.to_string();
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(Error::Invalid(text))
            }
        }
    }
}

/// Ends the request after Ctrl-C, wherever it is executed.
fn watch(given_up: &Arc<AtomicBool>) -> Watch {
    let given_up = given_up.clone();
    Watch::new(move || match given_up.load(Ordering::Relaxed) {
        true => Err(Error::Killed { by: None }),
        false => Ok(()),
    })
}

/// Makes the request and passes its events on.
fn ask(connection: &Connection, request: Request, watch: &Watch, to: &SyncSender<Message>) {
    let pass = &mut |event| to.send(Message::Event(event)).map_err(|_| Error::Killed { by: None });
    let end = connection.call_watched(request, Vec::new(), watch, pass);
    let _ = to.send(Message::End(end.map(drop)));
}

/// The rows of one statement, all at once; for small answers.
pub(crate) fn query(context: &Context, text: &str) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    context.connection()?.call(Request::Sql { text: text.to_owned() }, Vec::new(), &mut |event| {
        if let Event::Batch(batch) = event {
            batches.push(batch);
        }
        Ok(())
    })?;
    Ok(batches)
}
