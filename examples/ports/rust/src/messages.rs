//! What the machines share: clients, counts, the messages of `spec/wire.md`, and the reasons of a rejection.

use crate::{names, record, union};

pub type ServerId = i64;
pub type Port = i64;

record! {
    /// A client's connection. Their order is that of arrival: "first come".
    Client { arrival: i64, cookie: i64, port: Port }
}

record! {
    /// How many clients a server has by its own count. Of two counts the higher sequence number holds (OWN-3.3b).
    Count { clients: i64, sequence: i64 }
}

union! {
    /// On a dialog, towards the server.
    ToServer {
        InitialMsg { incarnation: i64, forget: Vec<Client> },
        HandOff { client: Client },
    }
}

union! {
    /// On a dialog, from the server.
    FromServer {
        RestartReply { incarnation: i64, count: Count },
        Accepted { client: Client, count: Count },
        Refused { client: Client, count: Count },
        Disconnect { client: Client, count: Count },
        NotReady { incarnation: i64, count: Count },
    }
}

union! {
    /// On the control socket, towards the server.
    ControlToServer {
        BindReply { port: Port, errno: i64 },
        Acknowledge { sequence: i64 },
    }
}

union! {
    /// From the Monitor to a Distributor.
    ToDistributor {
        Adopt {
            server: ServerId, max_clients: i64, weight: i64, dynamic: bool, draining: bool, dialogs: Vec<Port>,
            owed: Vec<Port>
        },
        Restore { client: Client },
        Begin {},
        CreationFailed {},
        Close {},
    }
}

union! {
    /// From a Distributor to the Monitor.
    ToMonitor {
        Store { client: Client },
        Release { client: Client },
        KeepDialog { server: ServerId, port: Port },
        KeepListener { port: Port, address: String },
        DropListeners { port: Port },
        ListenFailed { port: Port, address: String, errno: i64 },
        CreateServer {},
        ServerReady { server: ServerId, port: Port },
        ServerNotReady { server: ServerId, port: Port },
        Drained { server: ServerId },
        Unresponsive { server: ServerId },
        Closed {},
    }
}

names! {
    /// Why an event is rejected (OWN-3.0c).
    Reason {
        UNKNOWN_SERVER, UNKNOWN_PORT, UNKNOWN_DIALOG, UNKNOWN_CLIENT, OTHER_PORT, NOT_BOUND, UNKNOWN_ADDRESS,
        ALREADY_LISTENING, DUPLICATE_SERVER, DUPLICATE_CLIENT, NOT_BEGUN, ALREADY_BEGUN, NOT_STARTED, ALREADY_STARTED,
        ENDED, NOT_ACCEPTING, NOT_WAITING, NOT_HANG_UP, NOT_OUTSTANDING, NOT_THIS_REQUEST, NOT_SPARE, NOT_REQUESTED,
        NOT_SERVING, NOT_RESTING, NOT_CLOSING, ALREADY_CLOSING, CLOSED, NO_DIALOG, NOT_DELIVERED, NOT_NEXT,
        TIMER_IS_STALE, NO_SUCH_PROCESS, UNKNOWN_ELEMENT, SAME_ELEMENT_STATE, UNKNOWN_CLASS,
    }
}

/// What comes of a step: the effects in their order, or the reason why the event is rejected and nothing has changed.
pub type Outcome<Effect> = Result<Vec<Effect>, Reason>;

/// `Err(reason)` unless the condition holds.
pub fn require(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds {
        Ok(())
    } else {
        Err(reason)
    }
}
