//! What each source has heard since the last look: one table for each, so that no source waits for another. Its lock is taken for
//! one entry at a time, and once a second to put an empty table in its place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::lock::lock;
use super::metrics::Metrics;
use super::settings::{Availability, Config};
use super::status::ToldStatus;
use crate::clock::Now;
use crate::message::{DeviceBook, DeviceSign};

/// What an entry takes beside the name, bytes.
const ENTRY_BYTES: usize = 160;

/// What one source heard of one device since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jot {
    /// Messages that the device sent.
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// When the first sign of it came, whatever that was.
    pub(super) first: Now,
    /// When the device was last heard.
    pub(super) last: Option<Now>,
    /// The last status that was told, and when.
    pub(super) told: Option<ToldWord>,
    /// The device was heard before that, and behind it: messages of one moment have an order, too.
    pub(super) spoke_before: bool,
    pub(super) spoke_after: bool,
}

/// A status, and how it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldWord {
    pub(super) status: ToldStatus,
    pub(super) at: Now,
    /// It was not kept by a broker, nor sent again.
    pub(super) is_live: bool,
}

/// What a source has heard, by device.
pub(super) type Jots = HashMap<Box<[u8]>, Jot>;

/// What one source has heard since the last look.
pub(super) struct SourcePage {
    pub(super) source: Arc<str>,
    pub(super) is_there: bool,
    pub(super) jots: Jots,
}

/// The table of one source.
pub(super) struct Book {
    page: Mutex<NotedPage>,
    limits: Arc<RwLock<BookLimits>>,
    metrics: Metrics,
}

#[derive(Default)]
struct NotedPage {
    jots: Jots,
    /// What they take, bytes.
    bytes: usize,
}

#[derive(Default)]
struct BookLimits {
    most: usize,
    most_bytes: usize,
    availability: Availability,
}

impl Book {
    fn note(&self, sign: &DeviceSign<'_>, note: impl FnOnce(&mut Jot)) {
        let page = &mut *lock(&self.page);
        if let Some(jot) = page.jots.get_mut(sign.device) {
            return note(jot);
        }
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = ENTRY_BYTES + sign.device.len();
        if page.jots.len() >= limits.most || page.bytes + bytes > limits.most_bytes {
            return self.metrics.missed.inc();
        }
        page.bytes += bytes;
        let mut jot = Jot {
            first: sign.at,
            ..Jot::default()
        };
        note(&mut jot);
        page.jots.insert(sign.device.into(), jot);
    }

    fn take(&self) -> Jots {
        let page = &mut *lock(&self.page);
        page.bytes = 0;
        if page.jots.is_empty() {
            return Jots::new();
        }
        // As much will come again.
        let next = Jots::with_capacity(page.jots.len());
        std::mem::replace(&mut page.jots, next)
    }
}

impl DeviceBook for Book {
    fn heard(&self, sign: DeviceSign<'_>) {
        self.note(&sign, |jot| {
            if sign.is_live {
                jot.count += 1;
                jot.bytes += sign.bytes as u64;
                jot.last = Some(sign.at);
                match jot.told {
                    Some(_) => jot.spoke_after = true,
                    None => jot.spoke_before = true,
                }
            }
        });
    }

    fn told(&self, sign: DeviceSign<'_>, payload: &[u8]) {
        let status = {
            let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
            ToldStatus::read(payload, &limits.availability)
        };
        let Some(status) = status else {
            return self.metrics.unread.inc();
        };
        self.note(&sign, |jot| {
            let told = ToldWord {
                status,
                at: sign.at,
                is_live: sign.is_live,
            };
            let known = jot.told.and_then(|known| known.status.version);
            if known
                .zip(status.version)
                .is_some_and(|(known, new)| new < known)
            {
                return self.metrics.late.inc();
            }
            jot.spoke_before |= std::mem::take(&mut jot.spoke_after);
            jot.told = Some(told);
        });
    }
}

/// The tables of all sources.
pub(super) struct SourceBooks {
    all: Mutex<Vec<(Arc<str>, Arc<Book>)>>,
    limits: Arc<RwLock<BookLimits>>,
    metrics: Metrics,
}

impl SourceBooks {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            all: Mutex::default(),
            limits: Arc::default(),
            metrics,
        }
    }

    pub(super) fn put(&self, config: &Config) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = BookLimits {
            most: config.most,
            most_bytes: config.most_bytes,
            availability: config.availability.clone(),
        };
    }

    /// That of a source.
    pub(super) fn of(&self, source: &str) -> Arc<Book> {
        let mut all = lock(&self.all);
        if let Some((_, book)) = all.iter().find(|(name, _)| **name == *source) {
            return Arc::clone(book);
        }
        let book = Arc::new(Book {
            page: Mutex::default(),
            limits: Arc::clone(&self.limits),
            metrics: self.metrics.clone(),
        });
        all.push((source.into(), Arc::clone(&book)));
        book
    }

    /// What each source has heard since the last time. Of one that is gone this is the last.
    pub(super) fn take(&self) -> Vec<SourcePage> {
        let all = &mut *lock(&self.all);
        let page = |(source, book): &(Arc<str>, Arc<Book>)| SourcePage {
            source: Arc::clone(source),
            // Before what it has is taken: nobody writes into one that only the list has.
            is_there: Arc::strong_count(book) > 1,
            jots: book.take(),
        };
        let pages: Vec<_> = all.iter().map(page).collect();
        let mut is_there = pages.iter().map(|page| page.is_there);
        all.retain(|_| is_there.next().unwrap_or_default());
        pages
    }
}
