//! The Distributor of a server class: it accepts clients, and hands each to the least busy server.
//!
//! The ids in comments are those of `spec/requirements.toml`. A step changes the rows of servers and ports first, and
//! then `settle` does what follows from them: seats who waits, asks for a server, accepts, drains, closes.

use crate::messages::*;
use crate::{names, record, union};
use std::collections::{BTreeMap, BTreeSet};

names! {
    Phase { INITIALISING, OPERATING, CLOSING, CLOSED }
}

names! {
    /// Of a dialog: its bind is not answered yet; open; the server has answered that it listens.
    DialogPhase { BINDING, OPENED, READY }
}

names! {
    /// Whether a dynamic server is being asked for: no; when the create delay is over; yes.
    Creation { NONE, DELAYED, REQUESTED }
}

record! {
    Dialog {
        phase: DialogPhase,
        /// The number of the newest message that says whether the program listens; -1: none has come.
        sequence: i64,
    }
}

record! {
    /// The row of a server (DATA-ServerStatus).
    ServerStatus {
        max_clients: i64,
        weight: i64,
        dynamic: bool,
        draining: bool,
        dialogs: BTreeMap<Port, Dialog>,
        /// Those of its dialogs in which a hand-off of an earlier Distributor may be unread (OWN-3.5h).
        owed: BTreeSet<Port>,
        count: Count,
        /// The client whose hand-off is outstanding (OWN-3.2a).
        request: Option<Client>,
        resting: bool,
        /// Its control socket has not ended.
        attached: bool,
        /// It has sent something to this Distributor.
        heard: bool,
        /// Its count is not older than this Distributor (OWN-3.5l).
        known: bool,
        /// How many clients it had when it was spared though it left a hand-off unanswered; 0: it was not (OWN-3.2l).
        full_at: i64,
    }
}

record! {
    /// The row of a port (DATA-PortInfo).
    PortInfo {
        /// By address: whether it is listened on yet.
        listeners: BTreeMap<String, bool>,
        /// Some server has been ready here, so clients may be accepted (FIG6-106).
        opened: bool,
        /// An accept is outstanding.
        accepting: bool,
        /// An accept has failed, and is tried again after a moment (OWN-3.7i).
        pausing: bool,
        waiting: BTreeSet<Client>,
    }
}

record! {
    State {
        incarnation: i64,
        /// How many dynamic servers the class may have.
        dynamic: i64,
        waiting_limit: i64,
        /// The ports are configured; else the first bind decides.
        fixed: bool,
        phase: Phase,
        servers: BTreeMap<ServerId, ServerStatus>,
        ports: BTreeMap<Port, PortInfo>,
        next_arrival: i64,
        creation: Creation,
        /// The servers, first who was chosen longest ago (OWN-3.1c).
        order: Vec<ServerId>,
    }
}

union! {
    Timer {
        QueueTimeout { client: Client },
        HandOffTimeout { server: ServerId },
        RestOver { server: ServerId },
        DeleteDelay { server: ServerId },
        CreateDelay {},
        AcceptRetry { port: Port },
        AuditDue {},
    }
}

union! {
    Event {
        // Messages of the Monitor.
        Adopt {
            server: ServerId, max_clients: i64, weight: i64, dynamic: bool, draining: bool, dialogs: Vec<Port>,
            owed: Vec<Port>
        },
        Restore { client: Client },
        Begin {},
        CreationFailed {},
        Close {},
        // Of the listening sockets.
        Listening { port: Port, address: String },
        ListeningFailed { port: Port, address: String, errno: i64 },
        /// The accept has completed (FIG8-158).
        ConnectionRequest { port: Port, cookie: i64 },
        AcceptFailed { port: Port },
        /// While closing: an accept has found nobody.
        BacklogEmpty { port: Port },
        // Of a server.
        BindRequested { server: ServerId, port: Port, address: String },
        Received { server: ServerId, port: Port, message: FromServer },
        DialogEnded { server: ServerId, port: Port },
        ControlEnded { server: ServerId },
        /// The kernel has declined to send the hand-off.
        Unsent { server: ServerId, client: Client },
        /// A hand-off has been unanswered for too long, but the server goes on serving.
        StillServes { server: ServerId },
        Unfit { server: ServerId },
        /// The kernel does not know these connections of the server any more.
        Audited { server: ServerId, gone: Vec<Client> },
        // Of a waiting client; of time.
        PeerClosed { client: Client, reset: bool, unread: bool },
        Fired { timer: Timer },
    }
}

union! {
    Effect {
        Listen { port: Port, address: String },
        CloseListeners { port: Port },
        /// `wait`: until a client comes. Else only if the backlog holds one.
        Accept { port: Port, wait: bool },
        Send { server: ServerId, port: Port, message: ToServer },
        SendControl { server: ServerId, message: ControlToServer },
        Tell { message: ToMonitor },
        /// Port 0: the control socket.
        CloseDialog { server: ServerId, port: Port },
        /// The server has the client: close the Distributor's copy of the connection.
        CloseCopy { client: Client },
        /// Look whether the waiting client hangs up.
        Watch { client: Client },
        ShutDown { client: Client },
        Audit { server: ServerId },
        SetTimer { timer: Timer },
    }
}

/// `BindReply.errno`: not a port of the class (`spec/wire.md`).
const BIND_YOURSELF: i64 = -1;
/// `BindReply.errno` while the class closes: ESHUTDOWN.
const CLOSING: i64 = 108;
/// How many connections one `InitialMsg` names at most.
const FORGET_AT_MOST: usize = 1000;

impl ServerStatus {
    fn is_ready_on(&self, port: Port) -> bool {
        self.dialogs.get(&port).is_some_and(|dialog| dialog.phase == DialogPhase::READY)
    }

    /// Whether a client of the port may be handed to it (OWN-3.1a).
    fn is_free_on(&self, port: Port) -> bool {
        self.is_ready_on(port)
            && self.owed.is_empty()
            && self.count.clients < self.max_clients
            && self.request.is_none()
            && !self.draining
            && !self.resting
    }

    /// Serves nobody, and nobody is on the way to it (OWN-3.5l).
    fn is_idle(&self) -> bool {
        self.count.clients == 0 && self.request.is_none() && self.owed.is_empty() && self.known
    }

    /// May be drained when the delete delay is over (OWN-3.8c).
    fn is_spare(&self) -> bool {
        self.dynamic && self.heard && self.is_idle() && !self.draining
    }

    /// May be stopped (OWN-3.8d).
    fn is_drained(&self) -> bool {
        self.draining && self.is_idle()
    }

    /// The seats that it will have once it has come up.
    fn promised(&self) -> i64 {
        if self.dynamic && self.attached && !self.heard && !self.draining {
            self.max_clients
        } else {
            0
        }
    }

    /// Where the server is asked to forget connections: the first dialog that is ready, else that is open.
    fn dialog_to_ask(&self) -> Option<Port> {
        let in_phase = |phase| self.dialogs.iter().find(|(_, dialog)| dialog.phase == phase).map(|(port, _)| *port);
        in_phase(DialogPhase::READY).or_else(|| in_phase(DialogPhase::OPENED))
    }
}

impl PortInfo {
    fn new() -> PortInfo {
        PortInfo {
            listeners: BTreeMap::new(),
            opened: false,
            accepting: false,
            pausing: false,
            waiting: BTreeSet::new(),
        }
    }

    /// All of its addresses are listened on, and there are some.
    fn listens(&self) -> bool {
        !self.listeners.is_empty() && self.listeners.values().all(|listening| *listening)
    }
}

impl State {
    fn waits(&self, client: &Client) -> bool {
        self.ports.get(&client.port).is_some_and(|port| port.waiting.contains(client))
    }

    fn waiting(&self) -> i64 {
        self.ports.values().map(|port| port.waiting.len() as i64).sum()
    }

    /// More wait than the dynamic servers that come up will seat (OWN-3.8a).
    fn wants_a_server(&self) -> bool {
        self.dynamic > 0 && self.waiting() > self.servers.values().map(ServerStatus::promised).sum()
    }

    /// While closing: no more clients can come, and none is to be seated.
    fn nobody_is_left_to_seat(&self) -> bool {
        self.waiting() == 0
            && self.ports.values().all(|port| port.listeners.is_empty())
            && self.servers.values().all(|row| row.request.is_none())
    }

    /// The least loaded free server (OWN-3.1b), of equals who was chosen longest ago (OWN-3.1c).
    fn best_server(&self, port: Port) -> Option<ServerId> {
        let mut best: Option<(ServerId, &ServerStatus)> = None;
        for id in &self.order {
            let Some(row) = self.servers.get(id) else { continue };
            let load = |row: &ServerStatus| i128::from(row.count.clients) + 1;
            let is_better = best
                .map_or(true, |(_, other)| load(row) * i128::from(other.weight) < load(other) * i128::from(row.weight));
            if row.is_free_on(port) && is_better {
                best = Some((*id, row));
            }
        }
        best.map(|(id, _)| id)
    }

    /// The earliest waiter of a port on which a server is free (OWN-3.7a).
    fn next_to_seat(&self) -> Option<Client> {
        let first = |(port, info): (&Port, &PortInfo)| {
            info.waiting.first().filter(|_| self.best_server(*port).is_some()).cloned()
        };
        self.ports.iter().filter_map(first).min()
    }
}

/// Whether the event may happen in this state; if not, why.
pub fn guard(state: &State, event: &Event) -> Result<(), Reason> {
    let row = |server: &ServerId| state.servers.get(server).ok_or(Reason::UNKNOWN_SERVER);
    let info = |port: &Port| state.ports.get(port).ok_or(Reason::UNKNOWN_PORT);
    match event {
        Event::Adopt { server, .. } => {
            require(state.phase != Phase::CLOSED, Reason::CLOSED)?;
            require(!state.servers.contains_key(server), Reason::DUPLICATE_SERVER)
        }
        Event::Restore { client } => {
            require(state.phase == Phase::INITIALISING, Reason::ALREADY_BEGUN)?;
            require(!state.waits(client), Reason::DUPLICATE_CLIENT)
        }
        Event::Begin {} => require(state.phase == Phase::INITIALISING, Reason::ALREADY_BEGUN),
        Event::CreationFailed {} => require(state.creation == Creation::REQUESTED, Reason::NOT_REQUESTED),
        Event::Close {} => match state.phase {
            Phase::INITIALISING => Err(Reason::NOT_BEGUN),
            Phase::OPERATING => Ok(()),
            Phase::CLOSING | Phase::CLOSED => Err(Reason::ALREADY_CLOSING),
        },
        Event::Listening { port, address } | Event::ListeningFailed { port, address, .. } => {
            let listens = *info(port)?.listeners.get(address).ok_or(Reason::UNKNOWN_ADDRESS)?;
            require(!listens, Reason::ALREADY_LISTENING)
        }
        Event::ConnectionRequest { port, .. } | Event::AcceptFailed { port } => {
            require(info(port)?.accepting, Reason::NOT_ACCEPTING)
        }
        Event::BacklogEmpty { port } => {
            require(info(port)?.accepting, Reason::NOT_ACCEPTING)?;
            require(state.phase == Phase::CLOSING, Reason::NOT_CLOSING)
        }
        Event::BindRequested { server, .. } | Event::ControlEnded { server } | Event::Unfit { server } => {
            row(server).map(|_| ())
        }
        Event::Received { server, port, .. } | Event::DialogEnded { server, port } => {
            require(row(server)?.dialogs.contains_key(port), Reason::UNKNOWN_DIALOG)
        }
        Event::Unsent { server, client } => {
            require(row(server)?.request.as_ref() == Some(client), Reason::NOT_THIS_REQUEST)
        }
        Event::StillServes { server } => {
            let row = row(server)?;
            require(row.count.clients > 0, Reason::NOT_SERVING)?;
            require(row.request.is_some(), Reason::NOT_OUTSTANDING)
        }
        Event::Audited { server, .. } => require(row(server)?.dialog_to_ask().is_some(), Reason::NO_DIALOG),
        Event::PeerClosed { client, reset, unread } => {
            require(state.waits(client), Reason::NOT_WAITING)?;
            // Who has sent data and closed its sending side waits on (OWN-3.7e).
            require(*reset || !*unread, Reason::NOT_HANG_UP)
        }
        Event::Fired { timer } => match timer {
            Timer::QueueTimeout { client } => require(state.waits(client), Reason::NOT_WAITING),
            Timer::HandOffTimeout { server } => require(row(server)?.request.is_some(), Reason::NOT_OUTSTANDING),
            Timer::RestOver { server } => require(row(server)?.resting, Reason::NOT_RESTING),
            Timer::DeleteDelay { server } => require(row(server)?.is_spare(), Reason::NOT_SPARE),
            Timer::CreateDelay {} => require(state.creation == Creation::DELAYED, Reason::TIMER_IS_STALE),
            Timer::AcceptRetry { port } => {
                require(state.ports.get(port).is_some_and(|info| info.pausing), Reason::TIMER_IS_STALE)
            }
            Timer::AuditDue {} => require(state.phase != Phase::INITIALISING, Reason::NOT_BEGUN),
        },
    }
}

/// Takes the event, or rejects it and changes nothing.
pub fn step(state: &mut State, event: &Event) -> Outcome<Effect> {
    guard(state, event)?;
    let mut work = Work { state, effects: Vec::new() };
    work.take(event.clone());
    work.settle();
    Ok(work.effects)
}

/// One step: the state that it changes, and its effects so far.
struct Work<'a> {
    state: &'a mut State,
    effects: Vec<Effect>,
}

impl Work<'_> {
    fn take(&mut self, event: Event) {
        match event {
            Event::Adopt { server, max_clients, weight, dynamic, draining, dialogs, owed } => {
                if dynamic && self.state.creation == Creation::REQUESTED {
                    self.state.creation = Creation::NONE;
                }
                self.adopt(server, max_clients, weight, dynamic, draining, dialogs, owed);
            }
            Event::Restore { client } => {
                self.state.next_arrival = self.state.next_arrival.max(client.arrival + 1);
                self.wait(client);
            }
            Event::Begin {} => self.begin(),
            Event::CreationFailed {} => self.state.creation = Creation::NONE,
            Event::Close {} => {
                // From now on an accept takes only what the backlog holds (OWN-3.11b): all are issued again.
                self.state.phase = Phase::CLOSING;
                for info in self.state.ports.values_mut() {
                    info.accepting = false;
                }
            }
            Event::Listening { port, address } => {
                self.info(port).listeners.insert(address.clone(), true);
                self.tell(ToMonitor::KeepListener { port, address });
                if self.info(port).listens() {
                    for server in self.those_who_bind(port) {
                        self.open(server, port);
                    }
                }
            }
            Event::ListeningFailed { port, address, errno } => self.listening_failed(port, address, errno),
            Event::ConnectionRequest { port, cookie } => {
                let client = Client { arrival: self.state.next_arrival, cookie, port };
                self.state.next_arrival += 1;
                self.info(port).accepting = false;
                self.place(client);
            }
            Event::AcceptFailed { port } => {
                self.info(port).accepting = false;
                self.info(port).pausing = true;
                self.set_timer(Timer::AcceptRetry { port });
            }
            Event::BacklogEmpty { port } => {
                self.info(port).accepting = false;
                self.info(port).listeners.clear();
                self.effects.push(Effect::CloseListeners { port });
                self.tell(ToMonitor::DropListeners { port });
            }
            Event::BindRequested { server, port, address } => self.bind(server, port, address),
            Event::Received { server, port, message } => self.received(server, port, message),
            Event::DialogEnded { server, port } => self.dialog_ended(server, port),
            Event::ControlEnded { server } => {
                self.effects.push(Effect::CloseDialog { server, port: 0 });
                self.change(server, |row| row.attached = false);
            }
            Event::Unsent { server, client } => {
                self.refused(server);
                self.place(client);
            }
            Event::StillServes { server } => self.still_serves(server),
            Event::Unfit { server } => {
                // It is sent nobody from now on (OWN-3.2o).
                self.tell(ToMonitor::Unresponsive { server });
                self.change(server, |row| row.draining = true);
            }
            Event::Audited { server, mut gone } => {
                gone.truncate(FORGET_AT_MOST);
                if let Some(port) = self.row(server).dialog_to_ask() {
                    self.ask(server, port, gone);
                }
            }
            Event::PeerClosed { client, .. } => self.drop(client),
            Event::Fired { timer } => self.fired(timer),
        }
    }

    fn fired(&mut self, timer: Timer) {
        match timer {
            Timer::QueueTimeout { client } => self.drop(client),
            Timer::HandOffTimeout { server } => self.tell(ToMonitor::Unresponsive { server }),
            Timer::RestOver { server } => self.change(server, |row| row.resting = false),
            Timer::DeleteDelay { server } => self.change(server, |row| row.draining = true),
            Timer::CreateDelay {} => {
                self.state.creation = Creation::NONE;
                if self.state.wants_a_server() {
                    self.state.creation = Creation::REQUESTED;
                    self.tell(ToMonitor::CreateServer {});
                }
            }
            Timer::AcceptRetry { port } => self.info(port).pausing = false,
            Timer::AuditDue {} => {
                let servers: Vec<ServerId> = self.state.servers.keys().copied().collect();
                self.effects.extend(servers.into_iter().map(|server| Effect::Audit { server }));
                self.set_timer(Timer::AuditDue {});
            }
        }
    }

    // ------------------------------------------------------------------------------------ the beginning, ports

    #[allow(clippy::too_many_arguments)] // the fields of the message
    fn adopt(
        &mut self,
        server: ServerId,
        max_clients: i64,
        weight: i64,
        dynamic: bool,
        draining: bool,
        dialogs: Vec<Port>,
        owed: Vec<Port>,
    ) {
        // Without dialogs nobody can have been handed to it: that nobody is there is known (OWN-3.5k).
        let is_new = dialogs.is_empty();
        let row = ServerStatus {
            max_clients,
            weight,
            dynamic,
            draining: false,
            dialogs: BTreeMap::new(),
            owed: owed.into_iter().collect(),
            count: Count { clients: 0, sequence: if is_new { 0 } else { -1 } },
            request: None,
            resting: false,
            attached: true,
            heard: false,
            known: is_new,
            full_at: 0,
        };
        self.state.servers.insert(server, row);
        self.state.order.push(server);
        for port in dialogs {
            self.state.ports.entry(port).or_insert_with(PortInfo::new);
            self.row(server).dialogs.insert(port, Dialog { phase: DialogPhase::OPENED, sequence: -1 });
            self.ask(server, port, Vec::new());
        }
        self.change(server, |row| row.draining = draining);
    }

    fn begin(&mut self) {
        self.state.phase = Phase::OPERATING;
        for (port, info) in &self.state.ports {
            for (address, _) in info.listeners.iter().filter(|(_, listening)| !**listening) {
                self.effects.push(Effect::Listen { port: *port, address: address.clone() });
            }
        }
        self.set_timer(Timer::AuditDue {});
    }

    fn bind(&mut self, server: ServerId, port: Port, address: String) {
        let is_bound = self.row(server).dialogs.contains_key(&port);
        let is_closing = matches!(self.state.phase, Phase::CLOSING | Phase::CLOSED);
        if !is_bound {
            // Without configured ports, the first bind decides (OWN-BIND-first).
            let is_decided = self.state.fixed || !self.state.ports.is_empty();
            if is_closing {
                return self.decline(server, port, CLOSING);
            }
            if is_decided && !self.state.ports.contains_key(&port) {
                return self.decline(server, port, BIND_YOURSELF);
            }
            if self.state.fixed && self.info(port).listeners.is_empty() {
                return self.decline(server, port, CLOSING);
            }
        }
        if !is_closing && !self.state.fixed {
            self.add_address(port, address);
        }
        if !is_bound {
            self.row(server).dialogs.insert(port, Dialog { phase: DialogPhase::BINDING, sequence: -1 });
            if self.info(port).listens() {
                self.open(server, port);
            }
        } else if self.row(server).dialogs[&port].phase != DialogPhase::BINDING {
            self.answer(server, ControlToServer::BindReply { port, errno: 0 });
        }
    }

    fn add_address(&mut self, port: Port, address: String) {
        let info = self.state.ports.entry(port).or_insert_with(PortInfo::new);
        if !info.listeners.contains_key(&address) {
            info.listeners.insert(address.clone(), false);
            if self.state.phase == Phase::OPERATING {
                self.effects.push(Effect::Listen { port, address });
            }
        }
    }

    /// The port listens: the server's bind succeeds, and its dialog begins.
    fn open(&mut self, server: ServerId, port: Port) {
        self.row(server).dialogs.insert(port, Dialog { phase: DialogPhase::OPENED, sequence: -1 });
        self.tell(ToMonitor::KeepDialog { server, port });
        self.answer(server, ControlToServer::BindReply { port, errno: 0 });
        self.ask(server, port, Vec::new());
    }

    fn decline(&mut self, server: ServerId, port: Port, errno: i64) {
        self.answer(server, ControlToServer::BindReply { port, errno });
        self.effects.push(Effect::CloseDialog { server, port });
    }

    fn those_who_bind(&self, port: Port) -> Vec<ServerId> {
        let binds =
            |row: &ServerStatus| row.dialogs.get(&port).is_some_and(|dialog| dialog.phase == DialogPhase::BINDING);
        self.state.servers.iter().filter(|(_, row)| binds(row)).map(|(id, _)| *id).collect()
    }

    fn listening_failed(&mut self, port: Port, address: String, errno: i64) {
        self.info(port).listeners.remove(&address);
        if self.state.fixed {
            self.tell(ToMonitor::ListenFailed { port, address, errno });
        }
        // All who bind the port, whatever the address that they asked for, fail as it did (OWN-BIND-in-use).
        for server in self.those_who_bind(port) {
            self.decline(server, port, errno);
            self.change(server, |row| {
                row.dialogs.remove(&port);
            });
        }
        let info = self.info(port);
        let is_over = info.listeners.is_empty() && info.waiting.is_empty();
        let is_used = self.state.servers.values().any(|row| row.dialogs.contains_key(&port));
        if is_over && !is_used && !self.state.fixed {
            self.state.ports.remove(&port);
        }
    }

    // --------------------------------------------------------------------------------------------- clients

    /// Hands the client to the best server; without one it waits, first come first served.
    fn place(&mut self, client: Client) {
        let seats = matches!(self.state.phase, Phase::OPERATING | Phase::CLOSING);
        match self.state.best_server(client.port).filter(|_| seats) {
            Some(server) => self.hand_off(server, client),
            None => {
                // It is stored with the Monitor, so that it outlives this Distributor (OWN-3.6a).
                self.tell(ToMonitor::Store { client: client.clone() });
                self.wait(client);
            }
        }
    }

    fn wait(&mut self, client: Client) {
        self.state.ports.entry(client.port).or_insert_with(PortInfo::new).waiting.insert(client.clone());
        self.effects.push(Effect::Watch { client: client.clone() });
        self.set_timer(Timer::QueueTimeout { client });
    }

    fn hand_off(&mut self, server: ServerId, client: Client) {
        self.state.order.retain(|other| *other != server);
        self.state.order.push(server);
        self.change(server, |row| row.request = Some(client.clone()));
        let port = client.port;
        self.effects.push(Effect::Send { server, port, message: ToServer::HandOff { client } });
        self.set_timer(Timer::HandOffTimeout { server });
    }

    /// Lets a waiting client go: shut down before it is released (OWN-3.7g).
    fn drop(&mut self, client: Client) {
        self.info(client.port).waiting.remove(&client);
        self.effects.push(Effect::ShutDown { client: client.clone() });
        self.tell(ToMonitor::Release { client });
    }

    // --------------------------------------------------------------------------------------------- servers

    fn received(&mut self, server: ServerId, port: Port, message: FromServer) {
        let incarnation = self.state.incarnation;
        match message {
            FromServer::Accepted { client, count } => {
                let answers = self.row(server).request.as_ref() == Some(&client);
                self.change(server, |row| {
                    row.hear(&count);
                    if answers {
                        row.settle_request();
                    }
                });
                if answers {
                    self.effects.push(Effect::CloseCopy { client });
                }
            }
            FromServer::Refused { client, count } => {
                let answers = self.row(server).request.as_ref() == Some(&client);
                if answers {
                    self.row(server).hear(&count);
                    self.refused(server);
                    self.place(client);
                } else {
                    self.change(server, |row| row.hear(&count));
                }
            }
            FromServer::Disconnect { count, .. } => {
                self.answer(server, ControlToServer::Acknowledge { sequence: count.sequence });
                self.change(server, |row| {
                    row.hear(&count);
                    row.resting = false;
                });
            }
            FromServer::RestartReply { incarnation: echo, count } => {
                let mut is_ready = false;
                self.change(server, |row| {
                    row.hear(&count);
                    if echo == incarnation && row.is_open(port) {
                        row.answered(port);
                        is_ready = row.turn(port, &count, DialogPhase::READY);
                    }
                });
                if is_ready {
                    self.tell(ToMonitor::ServerReady { server, port });
                }
            }
            FromServer::NotReady { incarnation: echo, count } => {
                let mut is_news = false;
                self.answer(server, ControlToServer::Acknowledge { sequence: count.sequence });
                self.change(server, |row| {
                    row.hear(&count);
                    if row.is_open(port) {
                        if echo == incarnation {
                            row.answered(port);
                        }
                        is_news = count.sequence > row.dialogs[&port].sequence;
                        row.turn(port, &count, DialogPhase::OPENED);
                    }
                });
                let is_unread = self.row(server).request.as_ref().is_some_and(|client| client.port == port);
                if is_news && echo == incarnation && !is_unread {
                    self.tell(ToMonitor::ServerNotReady { server, port });
                }
                if is_news && echo == 0 {
                    // Its answer will show that no hand-off is unread (OWN-3.4e).
                    self.ask(server, port, Vec::new());
                }
            }
        }
    }

    /// The server has not taken the client, and is left out for a while (OWN-3.2k).
    fn refused(&mut self, server: ServerId) {
        self.change(server, |row| {
            row.settle_request();
            row.resting = true;
        });
        self.set_timer(Timer::RestOver { server });
    }

    fn dialog_ended(&mut self, server: ServerId, port: Port) {
        let mut comes_back = None;
        self.effects.push(Effect::CloseDialog { server, port });
        self.change(server, |row| {
            row.dialogs.remove(&port);
            row.owed.remove(&port);
            if row.request.as_ref().is_some_and(|client| client.port == port) {
                comes_back = row.settle_request();
            }
        });
        if let Some(client) = comes_back {
            self.place(client);
        }
    }

    fn still_serves(&mut self, server: ServerId) {
        // Once it has room again and still does not answer, it hangs (OWN-3.2l).
        let row = self.row(server);
        if row.full_at > 0 && row.count.clients < row.full_at {
            self.tell(ToMonitor::Unresponsive { server });
        } else {
            self.change(server, |row| row.full_at = row.count.clients);
            self.set_timer(Timer::HandOffTimeout { server });
        }
    }

    /// Changes a row, and does what follows from that for the server by itself.
    fn change(&mut self, server: ServerId, change: impl FnOnce(&mut ServerStatus)) {
        let row = self.row(server);
        let before = row.clone();
        change(row);
        if *row == before {
            return;
        }
        if row.dialogs.is_empty() && !row.attached {
            self.state.servers.remove(&server);
            self.state.order.retain(|other| *other != server);
            return;
        }
        let (is_spare, is_drained) = (row.is_spare(), row.is_drained());
        let ready = if row.owed.is_empty() { row.dialogs.keys().copied().collect() } else { Vec::new() };
        for port in ready {
            if self.row(server).is_ready_on(port) {
                self.info(port).opened = true;
            }
        }
        if is_spare && !before.is_spare() {
            self.set_timer(Timer::DeleteDelay { server });
        }
        if is_drained && !before.is_drained() {
            self.tell(ToMonitor::Drained { server });
        }
    }

    // -------------------------------------------------------------------------------- what follows from the rows

    fn settle(&mut self) {
        if matches!(self.state.phase, Phase::OPERATING | Phase::CLOSING) {
            while let Some(client) = self.state.next_to_seat() {
                self.seat(client);
            }
        }
        if self.state.phase == Phase::OPERATING && self.state.creation == Creation::NONE && self.state.wants_a_server()
        {
            self.state.creation = Creation::DELAYED;
            self.set_timer(Timer::CreateDelay {});
        }
        self.accept();
        if self.state.phase == Phase::CLOSING && self.state.nobody_is_left_to_seat() {
            self.drain();
        }
    }

    /// A client that waits is released from the store before it is sent (OWN-3.6b).
    fn seat(&mut self, client: Client) {
        let server = self.state.best_server(client.port).expect("the client was found with a free server");
        self.info(client.port).waiting.remove(&client);
        self.tell(ToMonitor::Release { client: client.clone() });
        self.hand_off(server, client);
    }

    /// Accepts where that may be: below the bound of those who wait (OWN-3.7b).
    fn accept(&mut self) {
        let wait = match self.state.phase {
            Phase::OPERATING => true,
            Phase::CLOSING => false,
            Phase::INITIALISING | Phase::CLOSED => return,
        };
        if self.state.waiting() >= self.state.waiting_limit {
            return;
        }
        for (port, info) in &mut self.state.ports {
            if info.listens() && (info.opened || !wait) && !info.accepting && !info.pausing {
                info.accepting = true;
                self.effects.push(Effect::Accept { port: *port, wait });
            }
        }
    }

    /// Drains who is idle (OWN-3.11d); when all are drained, all is over.
    fn drain(&mut self) {
        for server in self.state.servers.keys().copied().collect::<Vec<_>>() {
            if self.row(server).is_idle() {
                self.change(server, |row| row.draining = true);
            }
        }
        if self.state.servers.values().all(ServerStatus::is_drained) {
            self.state.phase = Phase::CLOSED;
            self.tell(ToMonitor::Closed {});
        }
    }

    // ----------------------------------------------------------------------------------------- small helpers

    /// Of a server that is in the table, which the guard has asked.
    fn row(&mut self, server: ServerId) -> &mut ServerStatus {
        self.state.servers.get_mut(&server).expect("the guard has asked whether the server is known")
    }

    /// Of a port that is in the table: asked by the guard, or named by a row.
    fn info(&mut self, port: Port) -> &mut PortInfo {
        self.state.ports.get_mut(&port).expect("the port of a dialog or of a client that waits is in the table")
    }

    fn tell(&mut self, message: ToMonitor) {
        self.effects.push(Effect::Tell { message });
    }

    fn answer(&mut self, server: ServerId, message: ControlToServer) {
        self.effects.push(Effect::SendControl { server, message });
    }

    fn ask(&mut self, server: ServerId, port: Port, forget: Vec<Client>) {
        let incarnation = self.state.incarnation;
        self.effects.push(Effect::Send { server, port, message: ToServer::InitialMsg { incarnation, forget } });
    }

    fn set_timer(&mut self, timer: Timer) {
        self.effects.push(Effect::SetTimer { timer });
    }
}

impl ServerStatus {
    fn is_open(&self, port: Port) -> bool {
        self.dialogs[&port].phase != DialogPhase::BINDING
    }

    /// Takes over a count, unless a newer one has come already (OWN-3.3b).
    fn hear(&mut self, count: &Count) {
        if count.sequence > self.count.sequence {
            self.count = count.clone();
            self.heard = true;
        }
    }

    /// The echo of this Distributor's InitialMsg: all that was sent before on the dialog has been read.
    fn answered(&mut self, port: Port) {
        self.owed.remove(&port);
        self.known = true;
    }

    /// Notes whether the program listens, unless something newer was said. Whether the phase has changed.
    fn turn(&mut self, port: Port, count: &Count, phase: DialogPhase) -> bool {
        let dialog = self.dialogs.get_mut(&port).expect("the guard has asked whether there is such a dialog");
        if count.sequence <= dialog.sequence {
            return false;
        }
        dialog.sequence = count.sequence;
        std::mem::replace(&mut dialog.phase, phase) != phase
    }

    /// The request is not outstanding any more.
    fn settle_request(&mut self) -> Option<Client> {
        self.full_at = 0;
        self.request.take()
    }
}
