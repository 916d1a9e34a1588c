//! Where orders are taken, and answered at once with a number.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use super::board::{ChangeTracker, PluginIndex};
use super::order::{ChangeProgress, ChangeReceipt, PluginName, Rollback, SwapOrder};
use super::request::DriverRequest;
use crate::chain::Chain;
use crate::gateway::flow_handle::FlowHandles;
use crate::versions::history::Who;

/// Takes orders. Cheap to clone; nothing here waits.
#[derive(Clone)]
pub(in crate::gateway) struct Orders {
    pub(super) requests: SyncSender<DriverRequest>,
    pub(super) board: ChangeTracker,
    pub(super) flow_handles: FlowHandles,
}

/// What somebody wants done.
#[derive(Clone, Copy)]
struct NewChange<'a> {
    place: Option<PluginIndex>,
    what: &'a str,
    /// Not while another change of the plugin is under way.
    alone: bool,
}

impl Orders {
    /// Swaps a plugin; without a component, to what the config says.
    ///
    /// # Errors
    /// In words for the operator.
    pub(in crate::gateway) fn swap(
        &self,
        order: SwapOrder,
        component: Option<Vec<u8>>,
        who: Who,
    ) -> Result<ChangeReceipt, String> {
        let place = self.place(&order.plugin)?;
        if order.replace && self.board.under_way().contains(&place) {
            self.cancel_at(
                place,
                &format!("{} put another version in its place", who.name()),
            );
            return self.submit(
                NewChange {
                    place: Some(place),
                    what: "swaps",
                    alone: false,
                },
                &who,
                |id| DriverRequest::Swap {
                    id,
                    order,
                    component,
                    who: who.clone(),
                },
            );
        }
        self.submit(
            NewChange {
                place: Some(place),
                what: "swaps",
                alone: true,
            },
            &who,
            |id| DriverRequest::Swap {
                id,
                order,
                component,
                who: who.clone(),
            },
        )
    }

    /// Whether a change of the plugin waits, or was ordered this moment: it cannot be ended yet.
    pub(in crate::gateway) fn has_yet_to_begin(&self, plugin: &PluginName) -> bool {
        self.place(plugin).is_ok_and(|place| {
            let chain = self.flow_handles.chain(place.flow);
            let can_be_ended = chain.is_some_and(|chain| chain.is_changing(place.plugin));
            self.board.of(place).is_some() && !can_be_ended
        })
    }

    /// Brings a version back, or ends the change under way.
    ///
    /// # Errors
    /// In words for the operator.
    pub(in crate::gateway) fn roll_back(
        &self,
        order: &Rollback,
        who: Who,
    ) -> Result<ChangeReceipt, String> {
        let place = self.place(&order.plugin)?;
        if order.to.is_none()
            && let Some(change) = self.board.of(place)
        {
            return if self.cancel(place, &who) {
                Ok(ChangeReceipt { change })
            } else {
                Err(self.busy(place, "it can be ended as soon as it has begun"))
            };
        }
        let order = order.clone();
        self.submit(
            NewChange {
                place: Some(place),
                what: "rolls back",
                alone: true,
            },
            &who,
            |id| DriverRequest::Rollback {
                id,
                order,
                who: who.clone(),
            },
        )
    }

    /// Ends the phase of the change under way as if it had gone well.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::gateway) fn promote(
        &self,
        plugin: &PluginName,
        who: &Who,
    ) -> Result<ChangeReceipt, String> {
        let place = self.place(plugin)?;
        let change = self.follow(plugin)?;
        if self
            .flow_handles
            .chain(place.flow)
            .is_some_and(|chain| chain.promote(place.plugin))
        {
            tracing::info!(
                plugin = self.name(place),
                who = who.name(),
                "an operator ends a phase of a change early"
            );
            return Ok(change);
        }
        Err(format!(
            "the change of `{}` is in no phase that can be ended early",
            self.name(place)
        ))
    }

    /// The change of a plugin that waits or is under way.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::gateway) fn follow(&self, plugin: &PluginName) -> Result<ChangeReceipt, String> {
        let place = self.place(plugin)?;
        let none = || format!("no change of `{}` is under way", self.name(place));
        self.board
            .of(place)
            .map(|change| ChangeReceipt { change })
            .ok_or_else(none)
    }

    /// Reads the config again.
    ///
    /// # Errors
    /// Too much is waiting.
    pub(in crate::gateway) fn reload(&self, who: Who) -> Result<ChangeReceipt, String> {
        self.submit(
            NewChange {
                place: None,
                what: "reads the config again",
                alone: true,
            },
            &who,
            |id| DriverRequest::Reload {
                id: Some(id),
                who: who.clone(),
            },
        )
    }

    /// What has come of an order, from line `from` on: as soon as there is more, or after `patience`.
    pub(in crate::gateway) async fn page(
        &self,
        change: u64,
        from: usize,
        patience: Duration,
    ) -> Option<ChangeProgress> {
        let mut bell = self.board.bell();
        let news = async {
            loop {
                match self.board.page(change, from) {
                    Some(page) if page.lines.is_empty() && !page.has_ended => {}
                    page => return page,
                }
                if bell.changed().await.is_err() {
                    return None;
                }
            }
        };
        match tokio::time::timeout(patience, news).await {
            Ok(page) => page,
            Err(_) => self.board.page(change, from),
        }
    }

    /// A plugin by its name.
    ///
    /// # Errors
    /// There is none, or several.
    pub(in crate::gateway) fn place(
        &self,
        PluginName(name): &PluginName,
    ) -> Result<PluginIndex, String> {
        let all = self
            .flow_handles
            .chains()
            .into_iter()
            .flat_map(|(flow, chain)| {
                let plugins = chain.plugins().into_iter().enumerate();
                plugins.map(move |(plugin, info)| {
                    (
                        PluginIndex { flow, plugin },
                        Arc::clone(chain.name()),
                        info.name,
                    )
                })
            });
        let all: Vec<_> = all.collect();
        let is_it = |flow: &str, plugin: &str| match name.split_once('/') {
            Some((wanted, rest)) => wanted == flow && rest == plugin,
            None => name == plugin,
        };
        let found: Vec<_> = all
            .iter()
            .filter(|(_, flow, plugin)| is_it(flow, plugin))
            .collect();
        let names = |them: &[&(PluginIndex, Arc<str>, Arc<str>)]| {
            them.iter()
                .map(|(_, flow, plugin)| format!("{flow}/{plugin}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match &*found {
            [(place, ..)] => Ok(*place),
            [] if all.is_empty() => Err("this gateway has no plugins".to_owned()),
            [] => Err(format!(
                "there is no plugin `{name}`; there are: {}",
                names(&all.iter().collect::<Vec<_>>())
            )),
            several => Err(format!(
                "there are several plugins `{name}`, say which: {}",
                names(several)
            )),
        }
    }

    fn cancel(&self, place: PluginIndex, who: &Who) -> bool {
        let is_cancelled = self.cancel_at(place, &format!("{} rolled it back", who.name()));
        if is_cancelled {
            tracing::info!(
                plugin = self.name(place),
                who = who.name(),
                "an operator ends a change"
            );
        }
        is_cancelled
    }

    /// Hears of the chain's plugins that keep failing.
    pub(super) fn hear(&self, flow: usize, chain: &Chain) {
        let desk = self.clone();
        // Where there is no room it opens again.
        chain.on_opened(move |opened| _ = desk.offer(DriverRequest::Opened { flow, opened }));
    }

    pub(super) fn cancel_at(&self, PluginIndex { flow, plugin }: PluginIndex, why: &str) -> bool {
        self.flow_handles
            .chain(flow)
            .is_some_and(|chain| chain.cancel(plugin, why))
    }

    fn submit(
        &self,
        wish: NewChange<'_>,
        who: &Who,
        request: impl FnOnce(u64) -> DriverRequest,
    ) -> Result<ChangeReceipt, String> {
        let NewChange { place, what, alone } = wish;
        let title = match place {
            Some(place) => format!("{} {what} {}", who.name(), self.name(place)),
            None => format!("{} {what}", who.name()),
        };
        let opened = self.board.open(title.clone(), place.filter(|_| alone));
        let change = opened.map_err(|other| {
            format!(
                "a change is under way already ({other}); {}",
                Self::follow_hint(self, place)
            )
        })?;
        tracing::info!(change, "an operator {title}");
        if self.offer(request(change)) {
            Ok(ChangeReceipt { change })
        } else {
            self.board.end(change);
            Err("more changes than can wait; try again when the last one is done".to_owned())
        }
    }

    fn busy(&self, place: PluginIndex, what: &str) -> String {
        format!("a change of `{}` waits or begins; {what}", self.name(place))
    }

    fn follow_hint(&self, place: Option<PluginIndex>) -> String {
        let name = place.map(|place| self.name(place)).unwrap_or_default();
        format!(
            "follow it with `tidegate swap {name} --follow`, end it with `tidegate rollback {name}`, or say --replace"
        )
    }

    pub(super) fn name(&self, place: PluginIndex) -> String {
        let Some(chain) = self.flow_handles.chain(place.flow) else {
            return String::new();
        };
        let plugin = chain
            .plugins()
            .get(place.plugin)
            .map(|info| Arc::clone(&info.name))
            .unwrap_or_default();
        format!("{}/{plugin}", chain.name())
    }

    /// `false` when there is no room.
    pub(super) fn offer(&self, request: DriverRequest) -> bool {
        match self.requests.try_send(request) {
            Err(TrySendError::Full(_)) => {
                tracing::warn!("more changes than can wait; send SIGHUP when the last one is done");
                false
            }
            // An error means that the driver has ended already: so does the gateway.
            Ok(()) | Err(TrySendError::Disconnected(_)) => true,
        }
    }
}
