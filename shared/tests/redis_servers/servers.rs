//! Redis servers of a test's own on loopback: single ones, a cluster, a master with a replica and a Sentinel. They end with
//! the test.

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};
use tempfile::TempDir;

/// Longest wait for what should happen within seconds; only a failing test waits so long.
pub const SOON: Duration = Duration::from_secs(60);
/// All servers' password, for the user `default`.
pub const PASSWORD: &str = "test-redis-pass";
/// What the Sentinel wants; it has users of its own.
pub const SENTINEL_PASSWORD: &str = "test-sentinel-pass";
/// Under this name the Sentinel knows the master.
pub const MASTER: &str = "main";

/// Waits until `condition` holds, and fails after [`SOON`].
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A port that is free now. Below those that the kernel gives to outgoing connections, so that it stays free for long enough.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A connection that waits for [`SOON`]: redis-rs's own half a second is little where a machine stands still.
async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let limits = AsyncConnectionConfig::new().set_connection_timeout(Some(SOON)).set_response_timeout(Some(SOON));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&limits).await
}

/// One server, with its configuration in a folder.
pub struct Server {
    pub port: u16,
    folder: TempDir,
    sentinel: bool,
    process: Option<Child>,
}

impl Server {
    /// Starts a server that is configured by `lines(port)`, and waits until `client(port)` reaches it.
    pub async fn start(sentinel: bool, lines: impl Fn(u16, &Path) -> String) -> Self {
        loop {
            let folder = tempfile::tempdir().expect("a folder");
            let port = free_port();
            std::fs::write(folder.path().join("redis.conf"), lines(port, folder.path())).expect("a configuration");
            let mut server = Self { port, folder, sentinel, process: None };
            if server.up().await {
                return server;
            }
            // Somebody took the port meanwhile.
        }
    }

    /// A Redis that keeps what it has acknowledged.
    pub async fn plain(more: &str) -> Self {
        Self::start(false, |port, folder| format!("port {port}\n{}{more}\n", common(folder))).await
    }

    /// Starts the process, again with what it knew; answers whether it listens.
    pub async fn up(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.arg(self.folder.path().join("redis.conf")).args(self.sentinel.then_some("--sentinel"));
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        let process = command.stdin(Stdio::null()).stdout(log).spawn().expect("redis-server is installed");
        let process = self.process.insert(process);
        let start = Instant::now();
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if process.try_wait().expect("its state").is_some() {
                return false;
            }
            assert!(start.elapsed() < SOON, "redis-server does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }

    /// As a crash would: no goodbye.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it ran");
        }
    }

    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    pub async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        connect(&self.url()).await
    }

    /// Runs one command, its words separated by blanks.
    pub async fn run<T: redis::FromRedisValue>(&self, command: &str) -> RedisResult<T> {
        let mut words = command.split(' ');
        let mut call = redis::cmd(words.next().unwrap_or_default());
        for word in words {
            call.arg(word);
        }
        call.query_async(&mut self.connection().await?).await
    }

    /// Whether `INFO` of that section has the line.
    pub async fn says(&self, section: &str, line: &str) -> bool {
        let info: RedisResult<String> = self.run(&format!("INFO {section}")).await;
        info.is_ok_and(|info| info.lines().any(|said| said == line))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// It writes before it answers, and does not wait for the disk: the process is killed here, and its machine is not.
fn common(folder: &Path) -> String {
    format!(
        "bind 127.0.0.1\ndir {}\nappendonly yes\nappendfsync no\nsave \"\"\n\
         requirepass {PASSWORD}\nmasterauth {PASSWORD}\n",
        folder.display()
    )
}

/// Three masters, a third of the slots each.
pub struct Cluster {
    pub nodes: Vec<Server>,
    ids: Vec<String>,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(Duration::from_secs(2)).await
    }

    /// One whose nodes take each other for dead only after so long.
    pub async fn start_with(node_timeout: Duration) -> Self {
        let mut nodes = Vec::new();
        let mut bus = Vec::new();
        for _ in 0..3 {
            // Another one at each try: whichever of its two ports was taken, the server does not start.
            let bus_port = Cell::new(0);
            let lines = |port, folder: &Path| {
                bus_port.set(free_port());
                format!(
                    "port {port}\ncluster-enabled yes\ncluster-port {}\ncluster-node-timeout {}\n{}",
                    bus_port.get(),
                    node_timeout.as_millis(),
                    common(folder)
                )
            };
            nodes.push(Server::start(false, lines).await);
            bus.push(bus_port.get());
        }
        let ranges = [(0, 5460), (5461, 10922), (10923, 16383)];
        for (epoch, (node, (first, last))) in (1..).zip(nodes.iter().zip(ranges)) {
            let () = node.run(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}")).await.expect("an epoch");
            let () = node.run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await.expect("its slots");
        }
        for (node, bus_port) in nodes.iter().zip(bus).skip(1) {
            let () =
                nodes[0].run(&format!("CLUSTER MEET 127.0.0.1 {} {bus_port}", node.port)).await.expect("they meet");
        }
        let mut ids = Vec::new();
        for node in &nodes {
            ids.push(node.run("CLUSTER MYID").await.expect("an id"));
        }
        let cluster = Self { nodes, ids };
        cluster.whole().await;
        cluster
    }

    /// Waits until every node sees the whole of it.
    pub async fn whole(&self) {
        for node in &self.nodes {
            until("the cluster is whole", async || {
                let info: RedisResult<String> = node.run("CLUSTER INFO").await;
                info.is_ok_and(|info| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
            })
            .await;
        }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://:{PASSWORD}@{}", hosts.join(","))
    }

    pub async fn slot(&self, key: &str) -> u16 {
        self.nodes[0].run(&format!("CLUSTER KEYSLOT {key}")).await.expect("a slot")
    }

    /// Which node had this slot at the start.
    pub async fn first_owner(&self, key: &str) -> usize {
        usize::from(self.slot(key).await) * 3 / 16_384
    }

    /// A prefix under which the three lanes lie on three masters.
    pub async fn spread_prefix(&self) -> String {
        loop {
            let prefix = format!("test-{:08x}", rand::random::<u32>());
            let mut owners = Vec::new();
            for lane in ["revoke", "sync", "bulk"] {
                owners.push(self.first_owner(&format!("{{{prefix}:{lane}}}")).await);
            }
            owners.sort_unstable();
            if owners == [0, 1, 2] {
                return prefix;
            }
        }
    }

    /// Moves a slot with its keys, key by key, as `redis-cli --cluster reshard` does.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let importing = format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.ids[from]);
        let () = target.run(&importing).await.expect("importing");
        let () = source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.ids[to])).await.expect("migrating");
        loop {
            let keys: Vec<String> = source.run(&format!("CLUSTER GETKEYSINSLOT {slot} 1")).await.expect("keys");
            let Some(key) = keys.first() else { break };
            let migrate = format!("MIGRATE 127.0.0.1 {} {key} 0 5000 AUTH {PASSWORD}", target.port);
            let _: String = source.run(&migrate).await.expect("a key moves");
        }
        // The new owner first: nobody is then sent in circles.
        for node in [target, source].into_iter().chain(&self.nodes) {
            let () = node.run(&format!("CLUSTER SETSLOT {slot} NODE {}", self.ids[to])).await.expect("it is there");
        }
    }
}

/// A master, a replica, and a Sentinel that alone decides.
pub struct Watched {
    pub master: Server,
    pub replica: Server,
    pub sentinel: Server,
}

impl Watched {
    pub async fn start() -> Self {
        let master = Server::plain("").await;
        let replica = Server::plain(&format!("replicaof 127.0.0.1 {}", master.port)).await;
        until("the replica follows", async || replica.says("replication", "master_link_status:up").await).await;
        let sentinel = Server::start(true, |port, folder| {
            format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nrequirepass {SENTINEL_PASSWORD}\n\
                 sentinel monitor {MASTER} 127.0.0.1 {} 1\nsentinel auth-pass {MASTER} {PASSWORD}\n\
                 sentinel down-after-milliseconds {MASTER} 3000\nsentinel failover-timeout {MASTER} 5000\n",
                folder.display(),
                master.port
            )
        })
        .await;
        let watched = Self { master, replica, sentinel };
        let ask = format!("redis://:{SENTINEL_PASSWORD}@127.0.0.1:{}", watched.sentinel.port);
        until("the Sentinel knows the replica", async || {
            let Ok(mut sentinel) = connect(&ask).await else { return false };
            let mut ask = redis::cmd("SENTINEL");
            let replicas: RedisResult<Vec<redis::Value>> =
                ask.arg("REPLICAS").arg(MASTER).query_async(&mut sentinel).await;
            replicas.is_ok_and(|replicas| replicas.len() == 1)
        })
        .await;
        watched
    }

    pub fn url(&self) -> String {
        format!(
            "redis+sentinel://:{PASSWORD}@127.0.0.1:{}/{MASTER}?sentinel_password={SENTINEL_PASSWORD}",
            self.sentinel.port
        )
    }

    /// From now on the replica learns nothing of what the master does: what a failover would then lose.
    pub async fn cut_replication(&self) {
        let () = self.replica.run("CONFIG SET masterauth wrong").await.expect("another password");
        let _: u64 = self.master.run("CLIENT KILL TYPE replica").await.expect("it was connected");
        until("the replica is cut off", async || self.replica.says("replication", "master_link_status:down").await)
            .await;
    }

    /// Waits until the replica has all that the master has.
    pub async fn replicated(&self) {
        until("the replica is level", async || {
            let offset = async |server: &Server, name: &str| {
                let info: String = server.run("INFO replication").await.expect("INFO");
                let line = info.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                line.expect("an offset")
            };
            let master = offset(&self.master, "master_repl_offset:").await;
            offset(&self.replica, "slave_repl_offset:").await == master
        })
        .await;
    }

    /// Waits until the replica is the master.
    pub async fn promoted(&self) {
        until("the replica is promoted", async || self.replica.says("replication", "role:master").await).await;
    }
}
