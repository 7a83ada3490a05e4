//! Rooms: the folders and single files directly below `infrastructure/http` and `infrastructure/persistence`. Each may import only
//! the rooms that stand before it.

/// A folder whose rooms have an order.
pub(crate) struct RoomOrder {
    /// The module of the folder.
    pub(crate) module: [&'static str; 2],
    /// Its rooms, from the bottom up.
    pub(crate) rooms: &'static [&'static str],
    /// Rooms that stand side by side: neither imports the other.
    pub(crate) apart: &'static [(&'static str, &'static str)],
}

pub(crate) const ROOM_ORDERS: [RoomOrder; 2] = [
    RoomOrder {
        module: ["infrastructure", "http"],
        rooms: &[
            "model",
            "error",
            "openapi",
            "request",
            "connection",
            "middleware",
            "access",
            "detach_on_drop",
            "cached",
            "state",
            "v1",
            "v2",
            "events",
            "docs",
            "shop_page",
            "admin",
            "router",
            "fast_path",
        ],
        apart: &[
            ("v1", "v2"),
            ("middleware", "connection"),
            ("v1", "middleware"),
            ("v2", "middleware"),
        ],
    },
    RoomOrder {
        module: ["infrastructure", "persistence"],
        rooms: &[
            "row",
            "pool",
            "requirements",
            "cell",
            "partitions",
            "operation",
            "jobs",
            "schedules",
            "batch",
            "idempotency",
            "checkout",
            "purchase",
            "sale",
            "operators",
            "stories",
            "report",
            "retention",
            "webhooks",
            "audit",
            "outbox",
            "replicas",
            "migrate",
            "direct",
            "explain",
            "tests",
        ],
        apart: &[
            ("checkout", "purchase"),
            ("sale", "batch"),
            ("audit", "sale"),
            ("audit", "batch"),
            ("operators", "report"),
            ("report", "sale"),
            ("report", "batch"),
            ("audit", "report"),
            ("webhooks", "batch"),
            ("webhooks", "sale"),
        ],
    },
];

impl RoomOrder {
    /// What is wrong with an import, if anything.
    pub(crate) fn fault(&self, from: &[String], to: &[String]) -> Option<String> {
        let (own, other) = (self.room(from)?, self.room(to)?);
        let floor = |room: &str| self.rooms.iter().position(|known| *known == room);
        let Some(own_floor) = floor(own) else {
            return Some(format!("{own} has no place in the order of rooms"));
        };
        let is_below = floor(other).is_some_and(|floor| floor <= own_floor);
        let is_apart = self.apart.contains(&(own, other)) || self.apart.contains(&(other, own));
        (!is_below || is_apart).then(|| format!("the room {own} must not import the room {other}"))
    }

    /// The room that a path leads into; `None` outside of the folder, and for its own `mod.rs`.
    fn room<'p>(&self, path: &'p [String]) -> Option<&'p str> {
        let is_inside = path.len() > 2 && path[0] == self.module[0] && path[1] == self.module[1];
        is_inside.then(|| path[2].as_str())
    }
}
