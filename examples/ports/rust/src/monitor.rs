//! The Monitor: it starts Distributors and servers, starts again what dies, and keeps the clients that wait.
//!
//! The ids in comments are those of `spec/requirements.toml`.

use crate::messages::*;
use crate::{names, record, union};
use std::collections::{BTreeMap, BTreeSet};

names! {
    Phase { NEW, RUNNING, CLOSING, ENDING, ENDED }
}

names! {
    /// Of a place. KILLING: all its processes are being killed, and their end is not reported yet.
    PlacePhase { DOWN, STARTING, READY, STOPPING, KILLING }
}

names! {
    /// Of a Distributor. DONE: it has sent `Closed`. GONE: and it has ended.
    DistributorPhase { DOWN, RUNNING, DONE, GONE }
}

names! {
    /// Why the Monitor ends, where nobody has asked it to.
    Failure { CANNOT_LISTEN, GIVEN_UP }
}

names! {
    Complaint { NO_ELEMENT, NOT_LISTENING, CRASH_LOOP, CANNOT_LISTEN, GIVEN_UP }
}

record! {
    ClassConfig {
        r#static: i64,
        dynamic: i64,
        max_clients: i64,
        waiting_limit: i64,
        elements: Vec<i64>,
        listeners: Vec<(Port, String)>,
        fixed: bool,
    }
}

record! {
    DistributorPlace { phase: DistributorPhase, incarnation: i64, element: i64, deaths: i64 }
}

record! {
    /// A position in a class that is kept filled. The static places are the first.
    Place {
        phase: PlacePhase,
        /// Who fills it, or did last; 0: nobody yet.
        server: ServerId,
        /// Where that one runs, or ran; -1: nowhere yet.
        element: i64,
        deaths: i64,
        /// Deaths in a row before it was ready (OWN-3.9b).
        unready_deaths: i64,
        /// The dialogs that are kept for it: whether a hand-off may be unread there (OWN-3.5e, h).
        dialogs: BTreeMap<Port, bool>,
    }
}

record! {
    ClassState {
        config: ClassConfig,
        distributor: DistributorPlace,
        places: BTreeMap<i64, Place>,
        /// The clients that wait (OWN-3.6a).
        store: BTreeSet<Client>,
        /// What is to be listened on; true: the socket is kept.
        listeners: BTreeMap<(Port, String), bool>,
        /// A server of the class has once been ready (OWN-3.9g).
        proven: bool,
        /// Deaths in a row of dynamic servers before they were ready.
        dynamic_deaths: i64,
        /// After such a death none is started for a while.
        dynamic_resting: bool,
    }
}

record! {
    ElementState { up: bool, weight: i64 }
}

record! {
    State {
        phase: Phase,
        classes: BTreeMap<i64, ClassState>,
        elements: BTreeMap<i64, ElementState>,
        next_server: ServerId,
        failure: Option<Failure>,
    }
}

union! {
    Timer {
        RestartServer { class_id: i64, place: i64, attempt: i64 },
        DynamicRest { class_id: i64, attempt: i64 },
        RestartDistributor { class_id: i64, attempt: i64 },
        ServerStable { class_id: i64, server: ServerId },
        DistributorStable { class_id: i64, incarnation: i64 },
        StartWarning { class_id: i64, server: ServerId },
        KillDelay { class_id: i64, server: ServerId },
        GraceOver {},
    }
}

union! {
    Event {
        Started {},
        StopRequested {},
        /// A message of a Distributor.
        Told { class_id: i64, message: ToMonitor },
        DistributorExited { class_id: i64 },
        /// The main process of the server has ended.
        ServerExited { class_id: i64, server: ServerId },
        /// No process of the server is left.
        ServerGone { class_id: i64, server: ServerId },
        ElementFailed { element: i64 },
        ElementRestored { element: i64 },
        Fired { timer: Timer },
    }
}

union! {
    Effect {
        StartDistributor { class_id: i64, incarnation: i64, element: i64, listeners: Vec<(Port, String)> },
        KillDistributor { class_id: i64 },
        TellDistributor { class_id: i64, message: ToDistributor },
        StartServer { class_id: i64, server: ServerId, place: i64, element: i64 },
        /// Ask its main process to end.
        Terminate { class_id: i64, server: ServerId },
        /// Kill it with all its descendants.
        Kill { class_id: i64, server: ServerId },
        /// Close the duplicates that are kept for it.
        DropServer { class_id: i64, server: ServerId },
        DropDuplicate { class_id: i64, client: Client },
        DropListener { class_id: i64, port: Port },
        ShutDownStored { class_id: i64, client: Client },
        Report { class_id: i64, complaint: Complaint, server: ServerId },
        SetTimer { timer: Timer },
        Exit { failure: Option<Failure> },
    }
}

/// So many deaths in a row before it was ready make a crash loop (OWN-3.9c).
const CRASH_LOOP: i64 = 5;

/// Reported at the fifth death, the tenth and so on.
fn is_crash_loop(deaths: i64) -> bool {
    deaths > 0 && deaths % CRASH_LOOP == 0
}

impl Place {
    fn lives(&self) -> bool {
        self.phase != PlacePhase::DOWN
    }

    /// It is not being ended already.
    fn is_up(&self) -> bool {
        matches!(self.phase, PlacePhase::STARTING | PlacePhase::READY)
    }
}

impl DistributorPlace {
    /// It may still send messages.
    fn lives(&self) -> bool {
        matches!(self.phase, DistributorPhase::RUNNING | DistributorPhase::DONE)
    }
}

impl ClassState {
    /// Where the server lives.
    fn place_of(&self, server: ServerId) -> Option<&Place> {
        self.places.values().find(|place| place.lives() && place.server == server)
    }

    fn is_dynamic(&self, place: i64) -> bool {
        place >= self.config.r#static
    }

    fn vacant(&self) -> Option<i64> {
        let places = self.config.r#static + self.config.dynamic;
        (self.config.r#static..places).find(|place| !self.places.contains_key(place))
    }
}

impl State {
    fn class(&self, class_id: &i64) -> Result<&ClassState, Reason> {
        self.classes.get(class_id).ok_or(Reason::UNKNOWN_CLASS)
    }

    /// How many processes run on the element, Distributors included.
    fn processes(&self, element: i64) -> usize {
        let of_class = |class: &ClassState| {
            let servers = class.places.values().filter(|place| place.lives() && place.element == element).count();
            servers + usize::from(class.distributor.lives() && class.distributor.element == element)
        };
        self.classes.values().map(of_class).sum()
    }

    /// Its own element if that works, else the emptiest that the class allows (OWN-3.9e).
    fn element_for(&self, class_id: i64, own: i64) -> Option<i64> {
        let is_up = |element: i64| self.elements.get(&element).is_some_and(|state| state.up);
        if is_up(own) {
            return Some(own);
        }
        let allowed = self.classes[&class_id].config.elements.iter().copied().filter(|element| is_up(*element));
        allowed.min_by_key(|element| self.processes(*element))
    }

    /// Whether all is over: nothing runs, and no Distributor is due that would seat who waits.
    fn is_over(&self) -> bool {
        let is_over = |class: &ClassState| {
            let distributor = match class.distributor.phase {
                DistributorPhase::RUNNING => false,
                DistributorPhase::DOWN => self.phase == Phase::ENDING,
                DistributorPhase::DONE | DistributorPhase::GONE => true,
            };
            distributor && !class.places.values().any(Place::lives)
        };
        matches!(self.phase, Phase::CLOSING | Phase::ENDING) && self.classes.values().all(is_over)
    }
}

/// Whether the event may happen in this state; if not, why.
pub fn guard(state: &State, event: &Event) -> Result<(), Reason> {
    // The place of a server that lives; and whether a timer still means something there.
    let place =
        |class_id: &i64, server: &ServerId| state.class(class_id)?.place_of(*server).ok_or(Reason::NO_SUCH_PROCESS);
    let is_in = |class_id: &i64, server: &ServerId, phase: PlacePhase| {
        require(place(class_id, server)?.phase == phase, Reason::TIMER_IS_STALE)
    };
    match event {
        Event::Started {} => require(state.phase == Phase::NEW, Reason::ALREADY_STARTED),
        Event::StopRequested {} => match state.phase {
            Phase::NEW => Err(Reason::NOT_STARTED),
            Phase::RUNNING | Phase::CLOSING | Phase::ENDING => Ok(()),
            Phase::ENDED => Err(Reason::ENDED),
        },
        Event::Told { class_id, message } => {
            let class = state.class(class_id)?;
            require(class.distributor.lives(), Reason::NO_SUCH_PROCESS)?;
            match message {
                ToMonitor::Store { client } => require(!class.store.contains(client), Reason::DUPLICATE_CLIENT),
                ToMonitor::Release { client } => require(class.store.contains(client), Reason::UNKNOWN_CLIENT),
                ToMonitor::KeepDialog { server, .. }
                | ToMonitor::ServerReady { server, .. }
                | ToMonitor::ServerNotReady { server, .. }
                | ToMonitor::Drained { server }
                | ToMonitor::Unresponsive { server } => {
                    require(class.place_of(*server).is_some(), Reason::UNKNOWN_SERVER)
                }
                ToMonitor::KeepListener { .. }
                | ToMonitor::DropListeners { .. }
                | ToMonitor::ListenFailed { .. }
                | ToMonitor::CreateServer {}
                | ToMonitor::Closed {} => Ok(()),
            }
        }
        Event::DistributorExited { class_id } => {
            require(state.class(class_id)?.distributor.lives(), Reason::NO_SUCH_PROCESS)
        }
        Event::ServerExited { class_id, server } | Event::ServerGone { class_id, server } => {
            require(place(class_id, server).is_ok(), Reason::NO_SUCH_PROCESS)
        }
        Event::ElementFailed { element } => {
            let element = state.elements.get(element).ok_or(Reason::UNKNOWN_ELEMENT)?;
            require(element.up, Reason::SAME_ELEMENT_STATE)
        }
        Event::ElementRestored { element } => {
            let element = state.elements.get(element).ok_or(Reason::UNKNOWN_ELEMENT)?;
            require(!element.up, Reason::SAME_ELEMENT_STATE)
        }
        Event::Fired { timer } => match timer {
            Timer::RestartServer { class_id, place, .. } => {
                let place = state.class(class_id)?.places.get(place);
                let is_due = state.phase == Phase::RUNNING && place.is_some_and(|place| !place.lives());
                require(is_due, Reason::TIMER_IS_STALE)
            }
            Timer::DynamicRest { class_id, .. } => {
                require(state.class(class_id)?.dynamic_resting, Reason::TIMER_IS_STALE)
            }
            Timer::RestartDistributor { class_id, .. } => {
                let is_down = state.class(class_id)?.distributor.phase == DistributorPhase::DOWN;
                let runs = matches!(state.phase, Phase::RUNNING | Phase::CLOSING);
                require(is_down && runs, Reason::TIMER_IS_STALE)
            }
            Timer::ServerStable { class_id, server } => {
                is_in(class_id, server, PlacePhase::READY)?;
                require(place(class_id, server)?.deaths > 0, Reason::TIMER_IS_STALE)
            }
            Timer::DistributorStable { class_id, incarnation } => {
                let distributor = &state.class(class_id)?.distributor;
                let is_that = distributor.incarnation == *incarnation && distributor.deaths > 0;
                require(distributor.phase == DistributorPhase::RUNNING && is_that, Reason::TIMER_IS_STALE)
            }
            Timer::StartWarning { class_id, server } => is_in(class_id, server, PlacePhase::STARTING),
            Timer::KillDelay { class_id, server } => is_in(class_id, server, PlacePhase::STOPPING),
            Timer::GraceOver {} => require(state.phase == Phase::CLOSING, Reason::NOT_CLOSING),
        },
    }
}

/// Takes the event, or rejects it and changes nothing.
pub fn step(state: &mut State, event: &Event) -> Outcome<Effect> {
    guard(state, event)?;
    let mut work = Work { state, effects: Vec::new() };
    work.take(event.clone());
    work.end_if_over();
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
            Event::Started {} => {
                self.state.phase = Phase::RUNNING;
                for class_id in self.class_ids() {
                    self.start_distributor(class_id);
                    for place in 0..self.class(class_id).config.r#static {
                        self.start_server(class_id, place);
                    }
                }
            }
            Event::StopRequested {} => self.stop(),
            Event::Told { class_id, message } => self.told(class_id, message),
            Event::DistributorExited { class_id } => self.distributor_exited(class_id),
            Event::ServerExited { class_id, server } => self.kill(class_id, server, Some(Death::OfItself)),
            Event::ServerGone { class_id, server } => self.server_gone(class_id, server),
            Event::ElementFailed { element } => self.element_failed(element),
            Event::ElementRestored { element } => self.element_restored(element),
            Event::Fired { timer } => self.fired(timer),
        }
    }

    fn fired(&mut self, timer: Timer) {
        match timer {
            Timer::RestartServer { class_id, place, .. } => {
                self.start_server(class_id, place);
            }
            Timer::DynamicRest { class_id, .. } => self.class(class_id).dynamic_resting = false,
            Timer::RestartDistributor { class_id, .. } => self.start_distributor(class_id),
            Timer::ServerStable { class_id, server } => self.place(class_id, server).deaths = 0,
            Timer::DistributorStable { class_id, .. } => self.class(class_id).distributor.deaths = 0,
            Timer::StartWarning { class_id, server } => {
                self.report(class_id, Complaint::NOT_LISTENING, server);
                self.set_timer(Timer::StartWarning { class_id, server });
            }
            Timer::KillDelay { class_id, server } => self.kill(class_id, server, None),
            Timer::GraceOver {} => {
                self.state.phase = Phase::ENDING;
                self.kill_distributors();
                for (class_id, server) in self.servers(|place| place.is_up()) {
                    self.terminate(class_id, server);
                }
            }
        }
    }

    fn told(&mut self, class_id: i64, message: ToMonitor) {
        match message {
            ToMonitor::Store { client } => {
                self.class(class_id).store.insert(client);
            }
            ToMonitor::Release { client } => {
                self.class(class_id).store.remove(&client);
                self.effects.push(Effect::DropDuplicate { class_id, client });
            }
            ToMonitor::KeepDialog { server, port } => {
                self.place(class_id, server).dialogs.entry(port).or_insert(false);
            }
            ToMonitor::KeepListener { port, address } => {
                self.class(class_id).listeners.insert((port, address), true);
            }
            ToMonitor::DropListeners { port } => {
                self.class(class_id).listeners.retain(|(other, _), _| *other != port);
                self.effects.push(Effect::DropListener { class_id, port });
            }
            ToMonitor::ListenFailed { .. } => {
                if self.state.phase == Phase::RUNNING {
                    self.report(class_id, Complaint::CANNOT_LISTEN, 0);
                    self.fail(Failure::CANNOT_LISTEN);
                }
            }
            ToMonitor::CreateServer {} => self.create_server(class_id),
            ToMonitor::ServerReady { server, port } => self.server_ready(class_id, server, port),
            ToMonitor::ServerNotReady { server, port } => {
                self.place(class_id, server).dialogs.insert(port, false);
            }
            ToMonitor::Drained { server } => {
                if self.place(class_id, server).is_up() {
                    self.terminate(class_id, server);
                }
            }
            ToMonitor::Unresponsive { server } => self.kill(class_id, server, Some(Death::Unresponsive)),
            ToMonitor::Closed {} => self.class(class_id).distributor.phase = DistributorPhase::DONE,
        }
    }

    // ------------------------------------------------------------------------------------------ Distributors

    /// The new one is sent who lives, then who waits, then Begin (FIG5-84).
    fn start_distributor(&mut self, class_id: i64) {
        let own = self.class(class_id).distributor.element;
        let Some(element) = self.state.element_for(class_id, own) else {
            return self.report(class_id, Complaint::NO_ELEMENT, 0);
        };
        let class = self.class(class_id);
        let incarnation = class.distributor.incarnation + 1;
        class.distributor.phase = DistributorPhase::RUNNING;
        class.distributor.incarnation = incarnation;
        class.distributor.element = element;
        let listeners = class.listeners.keys().cloned().collect();
        let living: Vec<i64> = class.places.iter().filter(|(_, place)| place.lives()).map(|(at, _)| *at).collect();
        let store = class.store.clone();
        self.effects.push(Effect::StartDistributor { class_id, incarnation, element, listeners });
        self.set_timer(Timer::DistributorStable { class_id, incarnation });
        for place in living {
            self.adopt(class_id, place);
        }
        for client in store {
            self.tell(class_id, ToDistributor::Restore { client });
        }
        self.tell(class_id, ToDistributor::Begin {});
        if self.state.phase == Phase::CLOSING {
            self.tell(class_id, ToDistributor::Close {});
        }
    }

    fn distributor_exited(&mut self, class_id: i64) {
        let goes_on = matches!(self.state.phase, Phase::RUNNING | Phase::CLOSING);
        let distributor = &mut self.class(class_id).distributor;
        if distributor.phase == DistributorPhase::DONE {
            distributor.phase = DistributorPhase::GONE;
            return;
        }
        distributor.phase = DistributorPhase::DOWN;
        distributor.deaths += 1;
        let attempt = distributor.deaths - 1;
        if goes_on {
            self.set_timer(Timer::RestartDistributor { class_id, attempt });
        }
    }

    // ----------------------------------------------------------------------------------------------- servers

    /// Whether an element was found for it.
    fn start_server(&mut self, class_id: i64, place: i64) -> bool {
        let down = Place {
            phase: PlacePhase::DOWN,
            server: 0,
            element: -1,
            deaths: 0,
            unready_deaths: 0,
            dialogs: BTreeMap::new(),
        };
        let mut filled = self.class(class_id).places.get(&place).cloned().unwrap_or(down);
        let Some(element) = self.state.element_for(class_id, filled.element) else {
            self.report(class_id, Complaint::NO_ELEMENT, filled.server);
            return false;
        };
        let server = self.state.next_server;
        self.state.next_server += 1;
        filled.phase = PlacePhase::STARTING;
        filled.server = server;
        filled.element = element;
        self.class(class_id).places.insert(place, filled);
        self.effects.push(Effect::StartServer { class_id, server, place, element });
        self.set_timer(Timer::StartWarning { class_id, server });
        self.adopt(class_id, place);
        true
    }

    /// Names a server that lives to its Distributor.
    fn adopt(&mut self, class_id: i64, place: i64) {
        let class = &self.state.classes[&class_id];
        let filled = &class.places[&place];
        let message = ToDistributor::Adopt {
            server: filled.server,
            max_clients: class.config.max_clients,
            weight: self.state.elements[&filled.element].weight,
            dynamic: class.is_dynamic(place),
            draining: !filled.is_up(),
            dialogs: filled.dialogs.keys().copied().collect(),
            owed: filled.dialogs.iter().filter(|(_, is_used)| **is_used).map(|(port, _)| *port).collect(),
        };
        self.tell(class_id, message);
    }

    /// A dynamic server is started while the class has one left (OWN-3.8a, b).
    fn create_server(&mut self, class_id: i64) {
        let class = self.class(class_id);
        let vacant = class.vacant().filter(|_| !class.dynamic_resting);
        let vacant = vacant.filter(|_| self.state.phase == Phase::RUNNING);
        let is_created = vacant.is_some_and(|place| self.start_server(class_id, place));
        if !is_created {
            self.tell(class_id, ToDistributor::CreationFailed {});
        }
    }

    fn server_ready(&mut self, class_id: i64, server: ServerId, port: Port) {
        let place = self.place(class_id, server);
        place.dialogs.insert(port, true);
        if place.phase != PlacePhase::STARTING {
            return;
        }
        place.phase = PlacePhase::READY;
        place.unready_deaths = 0;
        let class = self.class(class_id);
        class.proven = true;
        if class.places.iter().any(|(at, place)| place.server == server && class.is_dynamic(*at)) {
            class.dynamic_deaths = 0;
        }
        self.set_timer(Timer::ServerStable { class_id, server });
    }

    /// All processes of the server have ended: its place is free.
    fn server_gone(&mut self, class_id: i64, server: ServerId) {
        let runs = self.state.phase == Phase::RUNNING;
        self.effects.push(Effect::DropServer { class_id, server });
        let class = self.class(class_id);
        let is_it = |(_, place): &(&i64, &mut Place)| place.lives() && place.server == server;
        let (at, place) = class.places.iter_mut().find(is_it).expect("the guard has asked whether it lives");
        let at = *at;
        place.phase = PlacePhase::DOWN;
        place.dialogs.clear();
        let (deaths, unready_deaths) = (place.deaths, place.unready_deaths);
        if class.is_dynamic(at) {
            class.places.remove(&at);
            if unready_deaths > 0 {
                class.dynamic_deaths += 1;
                class.dynamic_resting = true;
                let deaths = class.dynamic_deaths;
                if is_crash_loop(deaths) {
                    self.report(class_id, Complaint::CRASH_LOOP, server);
                }
                self.set_timer(Timer::DynamicRest { class_id, attempt: deaths - 1 });
            }
        } else if runs {
            if is_crash_loop(unready_deaths) {
                self.report(class_id, Complaint::CRASH_LOOP, server);
            }
            self.set_timer(Timer::RestartServer { class_id, place: at, attempt: (deaths - 1).max(0) });
            self.give_up_if_hopeless(class_id);
        }
    }

    /// OWN-3.9f.
    fn give_up_if_hopeless(&mut self, class_id: i64) {
        let class = self.class(class_id);
        let is_static = |(at, _): &(&i64, &Place)| **at < class.config.r#static;
        let loops = |(_, place): (&i64, &Place)| place.unready_deaths >= CRASH_LOOP;
        if !class.proven && class.places.iter().filter(is_static).all(loops) {
            self.report(class_id, Complaint::GIVEN_UP, 0);
            self.fail(Failure::GIVEN_UP);
        }
    }

    fn terminate(&mut self, class_id: i64, server: ServerId) {
        self.place(class_id, server).phase = PlacePhase::STOPPING;
        self.effects.push(Effect::Terminate { class_id, server });
        self.set_timer(Timer::KillDelay { class_id, server });
    }

    /// Kills it with all its descendants, once; a death that nobody asked for is counted (OWN-3.9b).
    fn kill(&mut self, class_id: i64, server: ServerId, death: Option<Death>) {
        let place = self.place(class_id, server);
        let counts = match death {
            Some(Death::OfItself) => place.is_up(),
            Some(Death::Unresponsive) => true,
            None => false,
        };
        if place.phase == PlacePhase::KILLING {
            return;
        }
        if counts {
            place.deaths += 1;
            if matches!(death, Some(Death::OfItself)) && place.phase == PlacePhase::STARTING {
                place.unready_deaths += 1;
            }
        }
        place.phase = PlacePhase::KILLING;
        self.effects.push(Effect::Kill { class_id, server });
    }

    // --------------------------------------------------------------------------------- elements, and the end

    /// The death of an element is not held against its servers.
    fn element_failed(&mut self, element: i64) {
        self.element(element).up = false;
        for class_id in self.class_ids() {
            let distributor = &self.class(class_id).distributor;
            if distributor.phase == DistributorPhase::RUNNING && distributor.element == element {
                self.effects.push(Effect::KillDistributor { class_id });
            }
        }
        for (class_id, server) in self.servers(|place| place.lives() && place.element == element) {
            self.kill(class_id, server, None);
        }
    }

    fn element_restored(&mut self, element: i64) {
        self.element(element).up = true;
        for class_id in self.class_ids() {
            let class = self.class(class_id);
            let distributor_is_down = class.distributor.phase == DistributorPhase::DOWN;
            let down: Vec<i64> = class.places.iter().filter(|(_, place)| !place.lives()).map(|(at, _)| *at).collect();
            if distributor_is_down {
                self.set_timer(Timer::RestartDistributor { class_id, attempt: 0 });
            }
            for place in down {
                self.set_timer(Timer::RestartServer { class_id, place, attempt: 0 });
            }
        }
    }

    /// The first stop is graceful; a second one kills everything (OWN-3.11d, e).
    fn stop(&mut self) {
        if self.state.phase != Phase::RUNNING {
            return self.kill_all();
        }
        self.state.phase = Phase::CLOSING;
        self.set_timer(Timer::GraceOver {});
        for class_id in self.class_ids() {
            self.tell(class_id, ToDistributor::Close {});
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.state.failure = Some(failure);
        self.kill_all();
    }

    fn kill_all(&mut self) {
        self.state.phase = Phase::ENDING;
        self.kill_distributors();
        for (class_id, server) in self.servers(Place::lives) {
            self.kill(class_id, server, None);
        }
    }

    fn kill_distributors(&mut self) {
        for class_id in self.class_ids() {
            if self.class(class_id).distributor.phase == DistributorPhase::RUNNING {
                self.effects.push(Effect::KillDistributor { class_id });
            }
        }
    }

    /// At the end nothing is kept of who waits.
    fn end_if_over(&mut self) {
        if !self.state.is_over() {
            return;
        }
        self.state.phase = Phase::ENDED;
        for class_id in self.class_ids() {
            for client in std::mem::take(&mut self.class(class_id).store) {
                self.effects.push(Effect::ShutDownStored { class_id, client });
            }
        }
        self.effects.push(Effect::Exit { failure: self.state.failure });
    }

    // ----------------------------------------------------------------------------------------- small helpers

    fn class_ids(&self) -> Vec<i64> {
        self.state.classes.keys().copied().collect()
    }

    /// The living servers that are asked for, with their classes.
    fn servers(&self, which: impl Fn(&Place) -> bool) -> Vec<(i64, ServerId)> {
        let of_class = |(class_id, class): (&i64, &ClassState)| {
            let chosen = class.places.values().filter(|place| which(place));
            chosen.map(|place| (*class_id, place.server)).collect::<Vec<_>>()
        };
        self.state.classes.iter().flat_map(of_class).collect()
    }

    fn class(&mut self, class_id: i64) -> &mut ClassState {
        self.state.classes.get_mut(&class_id).expect("the guard has asked whether the class is known")
    }

    fn place(&mut self, class_id: i64, server: ServerId) -> &mut Place {
        let mut places = self.class(class_id).places.values_mut();
        let place = places.find(|place| place.lives() && place.server == server);
        place.expect("the guard has asked whether the server lives")
    }

    fn element(&mut self, element: i64) -> &mut ElementState {
        self.state.elements.get_mut(&element).expect("the guard has asked whether the element is known")
    }

    /// Only a Distributor that runs is sent anything.
    fn tell(&mut self, class_id: i64, message: ToDistributor) {
        if self.class(class_id).distributor.phase == DistributorPhase::RUNNING {
            self.effects.push(Effect::TellDistributor { class_id, message });
        }
    }

    fn report(&mut self, class_id: i64, complaint: Complaint, server: ServerId) {
        self.effects.push(Effect::Report { class_id, complaint, server });
    }

    fn set_timer(&mut self, timer: Timer) {
        self.effects.push(Effect::SetTimer { timer });
    }
}

/// Why a server dies that nobody has asked to end.
enum Death {
    OfItself,
    Unresponsive,
}
