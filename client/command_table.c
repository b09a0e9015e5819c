/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of commands and flags. To add a command, add its row here and its function to
 * command.h; parsing, `help`, the manual page and the completions follow. A row whose `run` is NULL
 * is carried out by what node/main.c binds to its name. */
#include "client/command.h"

#define BIT(id) (1ull << LW_FLAG_##id)
_Static_assert(LW_FLAG_COUNT <= 64, "flags of a command are bits of 64");

/* Understood by every command. */
static const uint64_t common_flags = BIT(JSON) | BIT(COLOR) | BIT(HELP);

static const lw_flag_spec flags[LW_FLAG_COUNT] = {
    [LW_FLAG_ADDR] = {"addr", "HOST:PORT", LW_KIND_ADDRESS, NULL, LW_DEFAULT_ADDRESS,
                      "LATHWORK_ADDR",
                      "The node to talk to; or several, with commas between them: whichever is "
                      "there."},
    [LW_FLAG_TIMEOUT] =
        {"timeout", "TIME", LW_KIND_DURATION, NULL, "10s", "LATHWORK_TIMEOUT",
         "How long it may take, all attempts together: a number and ms, s, m or h."},
    [LW_FLAG_ISOLATION] = {"isolation", "LEVEL", LW_KIND_CHOICE, "strict snapshot", "strict", NULL,
                           "strict: as if transactions ran one at a time. snapshot: all reads from "
                           "one moment; write skew is possible."},
    [LW_FLAG_AT] = {"at", "TIMESTAMP", LW_KIND_NUMBER, NULL, NULL, NULL,
                    "Read what was there at an earlier timestamp, which --json answers tell; as "
                    "long as the node keeps it."},
    [LW_FLAG_ESCAPED] = {"escaped", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                         "Keys and values, given and printed, are in the escaped form: \\t, \\n, "
                         "\\\\, \\xNN."},
    [LW_FLAG_HEX] = {"hex", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                     "Keys and values, given and printed, are hexadecimal digits."},
    [LW_FLAG_PREFIX] = {"prefix", "KEY", LW_KIND_TEXT, NULL, NULL, NULL,
                        "Only keys that begin so."},
    [LW_FLAG_FROM] = {"from", "KEY", LW_KIND_TEXT, NULL, NULL, NULL,
                      "Only this key and those after it."},
    [LW_FLAG_TO] = {"to", "KEY", LW_KIND_TEXT, NULL, NULL, NULL, "Only keys before this one."},
    [LW_FLAG_REVERSE] = {"reverse", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                         "From the last key down."},
    [LW_FLAG_LIMIT] = {"limit", "COUNT", LW_KIND_NUMBER, NULL, NULL, NULL,
                       "Stop after so many keys."},
    [LW_FLAG_KEYS_ONLY] = {"keys-only", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                           "Leave the values out."},
    [LW_FLAG_EXPECT] = {"expect", "VALUE", LW_KIND_TEXT, NULL, NULL, NULL,
                        "The value that the key must have; without it, the key must have none."},
    [LW_FLAG_SET] = {"set", "VALUE", LW_KIND_TEXT, NULL, NULL, NULL,
                     "The value to give it; without it, the value is taken away."},
    [LW_FLAG_TTL] = {"ttl", "TIME", LW_KIND_TEXT, NULL, NULL, NULL,
                     "The value is gone so long after the commit, as if deleted: a number and ms, "
                     "s, m, h or d. Without it, it lasts."},
    [LW_FLAG_PROGRESS] = {"progress", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                          "Write \"acknowledged COUNT\" to standard error after every batch, in "
                          "place of the progress bar."},
    [LW_FLAG_DATA] = {"data", "DIR", LW_KIND_PATH, NULL, "./lathwork-data", "LATHWORK_DATA",
                      "The folder that holds the data; made if it is absent."},
    [LW_FLAG_LISTEN] = {"listen", "HOST:PORT", LW_KIND_ADDRESS, NULL, LW_DEFAULT_ADDRESS,
                        "LATHWORK_LISTEN", "Where to take connections; port 0 takes a free one."},
    [LW_FLAG_MEMORY] = {"memory", "SIZE", LW_KIND_SIZE, NULL, "64M", "LATHWORK_MEMORY",
                        "Bytes for recent writes, the block cache, indexes, filters and buffers "
                        "together, with K, M or G (powers of 1024); 4M or more."},
    [LW_FLAG_RETENTION] = {"retention", "TIME", LW_KIND_DURATION, NULL, "10m", "LATHWORK_RETENTION",
                           "How far back the past can be read, at least 1s: after that space comes "
                           "back, and transactions that take longer than their --timeout said "
                           "cannot go on. One that says it takes longer is waited for."},
    [LW_FLAG_SHARD_SIZE] = {"shard-size", "SIZE", LW_KIND_SIZE, NULL, "128M", "LATHWORK_SHARD_SIZE",
                            "Bytes from which a shard is split near its middle, with K, M or G; "
                            "4M or more."},
    [LW_FLAG_SHARD_RATE] = {"shard-rate", "COUNT", LW_KIND_NUMBER, NULL, "2500",
                            "LATHWORK_SHARD_RATE",
                            "Requests a second from which a shard that takes more than its share "
                            "of all may be split, so that other nodes lead a part."},
    [LW_FLAG_MERGE_AFTER] = {"merge-after", "TIME", LW_KIND_DURATION, NULL, "10m",
                             "LATHWORK_MERGE_AFTER",
                             "How long small shards have had little to do before they are merged "
                             "with their neighbours; 0s: never."},
    [LW_FLAG_QUIET] = {"quiet", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                       "Print nothing when the node is ready."},
    [LW_FLAG_JOIN] =
        {"join", "HOST:PORT", LW_KIND_ADDRESS, NULL, NULL, "LATHWORK_JOIN",
         "A member of the lattice to belong to, or several with commas between them. A folder that "
         "belongs to it already stays as it is, and finds the others there, should all have come "
         "back at other addresses."},
    [LW_FLAG_TOKEN_FILE] = {"token-file", "FILE", LW_KIND_PATH, NULL, NULL, "LATHWORK_TOKEN_FILE",
                            "The token that lets a new node in; see lathwork token."},
    [LW_FLAG_BUS] = {"bus", "WHICH", LW_KIND_TEXT, NULL, "child", "LATHWORK_BUS",
                     "How nodes tell each other news: child (a nats-server of the node's own), "
                     "nats://HOST:PORT (one that is there), or none."},
    [LW_FLAG_BUS_LISTEN] =
        {"bus-listen", "HOST[:PORT]", LW_KIND_TEXT, NULL, NULL, "LATHWORK_BUS_LISTEN",
         "Where that nats-server takes others of the lattice: a private address. "
         "Without it the host of --listen, and its port and 1000."},
    [LW_FLAG_ZONE] = {"zone", "NAME", LW_KIND_TEXT, NULL, NULL, "LATHWORK_ZONE",
                      "What fails together with this node: replicas are kept in several zones."},
    [LW_FLAG_NAME] = {"name", "NAME", LW_KIND_TEXT, NULL, NULL, "LATHWORK_NAME",
                      "What people call the node: letters, digits, points and hyphens, at most 32. "
                      "Without it, the name that it has, or the next of n1, n2, ..."},
    [LW_FLAG_REPLICATION] = {"replication", "COUNT", LW_KIND_CHOICE, "1 3 5", "3",
                             "LATHWORK_REPLICATION",
                             "How many nodes are to hold each shard, as far as there are so many."},
    [LW_FLAG_CAPACITY] = {"capacity", "SIZE", LW_KIND_SIZE, NULL, NULL, "LATHWORK_CAPACITY",
                          "Bytes that the node is meant to hold, for its share among the others, "
                          "with K, M or G."},
    [LW_FLAG_DEAD_AFTER] = {"dead-after", "TIME", LW_KIND_DURATION, NULL, "5m",
                            "LATHWORK_DEAD_AFTER",
                            "How long a node may be away before what it held is made anew "
                            "elsewhere."},
    [LW_FLAG_HALTED] = {"halted", "WHAT", LW_KIND_CHOICE, "stay believe renew", "stay", NULL,
                        "What becomes of shards whose replicas were found to differ, and halted: "
                        "they stay so, or this node has them right, or another one has."},
    [LW_FLAG_NODES] = {"nodes", "COUNT", LW_KIND_NUMBER, NULL, "3", NULL,
                       "How many nodes; also -n."},
    [LW_FLAG_EXPIRES] = {"expires", "TIME", LW_KIND_DURATION, NULL, "24h", NULL,
                         "How long the token lets nodes in."},
    [LW_FLAG_REVOKE] = {"revoke", "TOKEN", LW_KIND_TEXT, NULL, NULL, NULL,
                        "Lets nobody in by this token any more: the token, the file it is in, or "
                        "its id."},
    [LW_FLAG_LIST] = {"list", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                      "Lists the tokens that the node knows of."},
    [LW_FLAG_FOLLOW] = {"follow", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                        "Go on, and print what happens when it does; also -f."},
    [LW_FLAG_UNDO] = {"undo", NULL, LW_KIND_SWITCH, NULL, NULL, NULL, "Let the node fill again."},
    [LW_FLAG_FORCE] = {"force", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                       "Take out a node that is lost, unasked: what it alone held is gone."},
    [LW_FLAG_RECORDS] = {"records", "COUNT", LW_KIND_NUMBER, NULL, "100000", NULL,
                         "How many records are stored before."},
    [LW_FLAG_CLIENTS] = {"clients", "COUNT", LW_KIND_NUMBER, NULL, "16", NULL,
                         "How many clients are at work at once; 1024 at most."},
    [LW_FLAG_DURATION] = {"duration", "TIME", LW_KIND_DURATION, NULL, "10s", NULL,
                          "How long each workload runs."},
    [LW_FLAG_WORKLOAD] = {"workload", "NAME", LW_KIND_CHOICE, "append bank register", NULL, NULL,
                          "Run what can be judged instead, and write down what clients were told."},
    [LW_FLAG_SEED] = {"seed", "NUMBER", LW_KIND_NUMBER, NULL, "1", NULL,
                      "The first seed; it decides everything that happens in a run."},
    [LW_FLAG_RUNS] = {"runs", "COUNT", LW_KIND_NUMBER, NULL, "1", NULL,
                      "How many seeds to run, from the first one on."},
    [LW_FLAG_SCENARIO] = {"scenario", "NAME", LW_KIND_TEXT, NULL, NULL, NULL,
                          "What runs, and what may go wrong. One node: calm, crash, disk, rot; "
                          "several: lattice-calm, lattice, lattice-disk, lattice-moves, "
                          "lattice-rot, lattice-storm; one part of a node alone, without "
                          "clients: engine, gossip, links, raft, shards. Without it each in turn."},
    [LW_FLAG_FAULTS] = {"faults", "LIST", LW_KIND_TEXT, NULL, NULL, NULL,
                        "Of the faults that the scenario has, which may strike: all, none, or "
                        "names with commas between them; -NAME leaves one out. As in "
                        "--faults=-pause,-cut or --faults crash,outage."},
    [LW_FLAG_FAULTS_FILE] = {"faults-file", "FILE", LW_KIND_PATH, NULL, NULL, NULL,
                             "Let exactly the faults strike that stand in a file, as a failure's "
                             "report writes it."},
    [LW_FLAG_NO_SHRINK] = {"no-shrink", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                           "Do not look which of the faults a failure needs, which takes half a "
                           "minute."},
    [LW_FLAG_HASHES] = {"hashes", "FILE", LW_KIND_PATH, NULL, NULL, NULL,
                        "Write a line for each run to a file: scenario, seed, the hash of all that "
                        "happened, passed or failed, and the planted bugs whose places in the "
                        "code were passed."},
    [LW_FLAG_TRACE_HTML] = {"trace-html", "FILE", LW_KIND_PATH, NULL, NULL, NULL,
                            "Draw a run as a page for a browser: the first one that fails, or "
                            "else the first."},
    [LW_FLAG_BUG] = {"bug", "NAME", LW_KIND_TEXT, NULL, NULL, NULL,
                     "Switch a planted bug on, and stop at the first seed that finds it."},
    [LW_FLAG_ONCE] = {"once", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                      "Run each seed once, not twice to compare."},
    [LW_FLAG_MARKS] = {"marks", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                       "List how often each coverage mark and rare path was reached; the command "
                       "fails if one never was."},
    [LW_FLAG_TRACE] = {"trace", "FILE", LW_KIND_PATH, NULL, NULL, NULL,
                       "Write every event of the runs to a file."},
    [LW_FLAG_HISTORY] = {"history", "FILE", LW_KIND_PATH, NULL, NULL, NULL,
                         "Write the histories to a file, as JSON lines."},
    [LW_FLAG_CHECK] = {"check", "FILE", LW_KIND_PATH, NULL, NULL, NULL,
                       "Run nothing, and judge a history that was recorded in a file."},
    [LW_FLAG_MAN] = {"man", NULL, LW_KIND_SWITCH, NULL, NULL, NULL, "Print the manual page."},
    [LW_FLAG_COMPLETION] = {"completion", "SHELL", LW_KIND_CHOICE, "bash", NULL, NULL,
                            "Print completions for a shell."},
    [LW_FLAG_COLOR] = {"color", "WHEN", LW_KIND_CHOICE, "auto always never", "auto", NULL,
                       "Colours: auto is only on a terminal, and not if NO_COLOR is set."},
    [LW_FLAG_JSON] = {"json", NULL, LW_KIND_SWITCH, NULL, NULL, NULL,
                      "Answer, and report errors, as JSON."},
    [LW_FLAG_HELP] = {"help", NULL, LW_KIND_SWITCH, NULL, NULL, NULL, "Say how to use a command."},
};

/* What a flag means of one command, where it means something else there. */
static const struct own_meaning {
    const char *command;
    lw_flag_id id;
    const char *value, *default_value, *text;
} own_meanings[] = {
    {"move", LW_FLAG_FROM, "NODE", NULL,
     "The node that gives the shard up; without it one that is down, or does not lead it."},
    {"up", LW_FLAG_DATA, "DIR", "./lathwork-data",
     "The folder of the nodes' folders, n1, n2, ...; made if it is absent."},
    {"up", LW_FLAG_LISTEN, "HOST:PORT", LW_DEFAULT_ADDRESS,
     "Where the first node takes connections; the others have the ports that follow."},
    {"token", LW_FLAG_DATA, "DIR", "./lathwork-data", "The folder of a member."},
    {"check", LW_FLAG_DATA, "DIR", "./lathwork-data", "The folder to verify."},
    {"config", LW_FLAG_DATA, "DIR", "./lathwork-data", "The folder that holds the data."},
    {"sim", LW_FLAG_NODES, "COUNT", NULL,
     "How many nodes, in scenarios of several: 7 at most. Without it as many as the scenario has."},
    {"sim", LW_FLAG_CLIENTS, "COUNT", NULL,
     "How many clients are at work: 12 at most. Without it as many as the seed draws."},
    {"sim", LW_FLAG_ISOLATION, "LEVEL", NULL,
     "With --check: the level at which all transactions are judged. Without it each is at its "
     "own."},
};

#define REACH (BIT(ADDR) | BIT(TIMEOUT))
#define FORM  (BIT(ESCAPED) | BIT(HEX))
#define NODE                                                                                     \
    (BIT(LISTEN) | BIT(MEMORY) | BIT(RETENTION) | BIT(SHARD_SIZE) | BIT(SHARD_RATE) | BIT(BUS) | \
     BIT(MERGE_AFTER) | BIT(REPLICATION) | BIT(DEAD_AFTER))

static const lw_command_spec commands[] = {
    {"get", LW_GROUP_DATA, "KEY...", 1, -1, REACH | FORM | BIT(ISOLATION) | BIT(AT),
     "print the values of keys",
     "One key: prints its value; elsewhere than on a terminal exactly its bytes, with nothing "
     "added. Several keys, all read at the same moment: prints a line KEY<tab>VALUE for each that "
     "has a value, both escaped.\n\n"
     "Exit code 1 if any key has no value.",
     "lathwork get greeting\n"
     "lathwork get --json user/1 user/2\n"
     "lathwork get photo > photo.jpg",
     lw_command_get},
    {"put", LW_GROUP_DATA, "KEY VALUE", 2, 2, REACH | FORM | BIT(TTL), "give a key a value",
     "VALUE - reads the value from standard input, to its last byte. A key has 1 to 16384 bytes "
     "(16 KiB), a value at most 16777216 (16 MiB). What was answered with exit code 0 is on disk.",
     "lathwork put greeting 'hello, world'\n"
     "lathwork put photo - < photo.jpg\n"
     "lathwork put --hex 00ff cafe\n"
     "lathwork put --ttl 30s session/7f3 alive",
     lw_command_put},
    {"del", LW_GROUP_DATA, "[KEY...]", 0, -1, REACH | FORM | BIT(PREFIX) | BIT(FROM) | BIT(TO),
     "take values away",
     "Deletes the keys, or all that --prefix, --from and --to say, in one transaction, and prints "
     "how many there were. Very many take longer than --timeout's default.\n\n"
     "Exit code 1 if none of them had a value.",
     "lathwork del greeting\n"
     "lathwork del user/1 user/2\n"
     "lathwork del --prefix session/ --timeout 1m",
     lw_command_del},
    {"scan", LW_GROUP_DATA, "", 0, 0,
     REACH | FORM | BIT(AT) | BIT(PREFIX) | BIT(FROM) | BIT(TO) | BIT(REVERSE) | BIT(LIMIT) |
         BIT(KEYS_ONLY),
     "print keys and values in order",
     "Prints a line KEY<tab>VALUE for each key, both escaped, all as they were at one moment. "
     "Keys are ordered as bytes. The time of --timeout is for each page, not for the whole.",
     "lathwork scan --prefix user/\n"
     "lathwork scan --from user/1 --to user/5 --keys-only\n"
     "lathwork scan --reverse --limit 10",
     lw_command_scan},
    {"add", LW_GROUP_DATA, "KEY NUMBER", 2, 2, REACH | FORM, "add to a number",
     "Adds to the number that the key has, and prints what it then is. The sum is made where the "
     "key lies, so that any number of commands may add to one key at once, and none is in conflict "
     "with another.\n\n"
     "A number is signed, of 64 bits, and stored as 8 bytes, little-endian; add KEY 0 prints it. "
     "A key without a value counts as 0.\n\n"
     "Exit code 2, and nothing changed, if the key has a value that is no number, or the sum is "
     "beyond 64 bits.",
     "lathwork add visits 1\n"
     "lathwork add stock -3",
     lw_command_add},
    {"min", LW_GROUP_DATA, "KEY NUMBER", 2, 2, REACH | FORM, "make a number no greater than this",
     "As add, but the key becomes the lesser of the two; without a value, the number given.",
     "lathwork min cheapest 1499", lw_command_min},
    {"max", LW_GROUP_DATA, "KEY NUMBER", 2, 2, REACH | FORM, "make a number no less than this",
     "As add, but the key becomes the greater of the two; without a value, the number given.",
     "lathwork max record 88", lw_command_max},
    {"append", LW_GROUP_DATA, "KEY VALUE", 2, 2, REACH | FORM, "put bytes behind a value",
     "Puts the bytes behind what the key has, where the key lies, and prints the size that the "
     "value then has. VALUE - reads them from standard input. A key without a value counts as "
     "empty.",
     "lathwork append journal 'all is well; '\n"
     "lathwork append journal - < entry.txt",
     lw_command_append},
    {"cas", LW_GROUP_DATA, "KEY", 1, 1, REACH | FORM | BIT(EXPECT) | BIT(SET),
     "change a value if it is as expected",
     "Compares and sets in one step, where the key lies. Exit code 1, and nothing changed, if the "
     "key is not as expected.",
     "lathwork cas leader --set node-1\n"
     "lathwork cas leader --expect node-1 --set node-2\n"
     "lathwork cas leader --expect node-2",
     lw_command_cas},
    {"load", LW_GROUP_DATA, "[FILE]", 0, 1, REACH | BIT(PROGRESS), "store many records from text",
     "Reads FILE, or standard input, one record a line:\n\n"
     "  KEY<tab>VALUE\n\n"
     "where \\t is a tab, \\n a newline, \\\\ a backslash, \\xNN any byte; other control "
     "characters "
     "must be escaped. Records are committed in batches of at most 500 or 1 MiB, each a "
     "transaction: after an interruption every acknowledged batch is there, and no part of "
     "another. Loading the same records again changes nothing. A wrong line ends the loading; the "
     "error names it, and the records before it are stored.",
     "lathwork load records.txt\n"
     "lathwork dump --addr other:7871 | lathwork load",
     lw_command_load},
    {"dump", LW_GROUP_DATA, "[FILE]", 0, 1, REACH | BIT(AT) | BIT(PREFIX),
     "write all records as text",
     "Writes the form that load reads to FILE, or to standard output: all records as they were at "
     "one moment, however long it takes: the node keeps it until then. A FILE appears under its "
     "name only once it is complete. The time of --timeout is for each page, not for the whole. "
     "That values expire (put --ttl) is not part of the form: loaded again, they last.",
     "lathwork dump records.txt\n"
     "lathwork dump --prefix user/ | wc -l",
     lw_command_dump},
    {"txn", LW_GROUP_DATA, "[FILE] | status TOKEN | kill TRANSACTION", 0, 2, REACH | BIT(ISOLATION),
     "run a script as one transaction, ask what became of one, or end one",
     "Reads the script, from FILE or standard input, to its end, then runs it as one transaction, "
     "again as a whole when others were first. Answers are printed once, after the commit. One "
     "step a line:\n\n"
     "  get KEY              print KEY<tab>VALUE, or KEY alone if it has none\n"
     "  put KEY VALUE [TIME] give the key the value; TIME: as --ttl of put\n"
     "  insert KEY VALUE     the same, but the key must have none\n"
     "  del KEY...           take the values away\n"
     "  del-range FROM TO    take away what is from FROM to before TO\n"
     "  add KEY NUMBER       add to the number it has; also min, max\n"
     "  append KEY VALUE     put the bytes behind its value\n"
     "  put-stamped-key PREFIX SUFFIX VALUE\n"
     "                       put it under a new key, with the commit's timestamp between them\n"
     "  scan PREFIX [COUNT]  print KEY<tab>VALUE of the keys that begin so\n"
     "  expect KEY VALUE     go on only if the key has this value\n"
     "  expect-absent KEY    go on only if it has none\n"
     "  savepoint NAME       mark this point\n"
     "  rollback-to NAME     take back what was written since\n\n"
     "Words are separated by blanks; one with blanks in it stands in double quotes. \\t, \\n, "
     "\\\\, "
     "\\\" and \\xNN mean what they do in load. Lines that begin with # are comments.\n\n"
     "Exit code 1, and nothing changed, if an expect or an insert failed.\n\n"
     "txn status TOKEN tells what became of a transaction whose commit was not answered: "
     "committed, with its timestamp; or aborted, with exit code 1; or open, with exit code 4, "
     "while "
     "it may still be committed. The error of such a commit names the token.\n\n"
     "txn kill TRANSACTION rolls back a transaction that has locks, as the command locks tells: "
     "they are free then, and its client is told that it was killed, and by whom. Exit code 1, and "
     "nothing done, if it has committed, with its timestamp, or is unknown.",
     "printf 'expect a 1\\nput a 2\\n' | lathwork txn\n"
     "lathwork txn transfer.txt --json",
     lw_command_txn},
    {"shell", LW_GROUP_DATA, "", 0, 0, REACH | BIT(ISOLATION),
     "type commands, also in transactions",
     "Takes the steps of txn, one a line, each a transaction of its own; and:\n\n"
     "  begin [strict|snapshot] [pessimistic]  begin a transaction\n"
     "  commit, rollback                       end it\n"
     "  status                                 how the node is\n"
     "  help, quit\n\n"
     "A transaction that was begun may last 10 minutes, unless --timeout says otherwise. Lines are "
     "edited as in a shell, and kept in lathwork/history below $XDG_STATE_HOME or ~/.local/state. "
     "When standard input is no terminal, the first failure ends it.",
     "lathwork shell\n"
     "lathwork shell --addr 10.0.0.7:7871",
     lw_command_shell},
    {"start", LW_GROUP_NODE, "", 0, 0,
     NODE | BIT(DATA) | BIT(QUIET) | BIT(JOIN) | BIT(TOKEN_FILE) | BIT(BUS_LISTEN) | BIT(ZONE) |
         BIT(NAME) | BIT(CAPACITY) | BIT(HALTED),
     "run a node",
     "Opens the folder, makes it if it is absent, and serves until SIGINT or SIGTERM. Standard "
     "output tells where it listens, and how another node joins it; standard error has the log, "
     "one "
     "event a line.\n\n"
     "A new folder is the beginning of a lattice of its own, unless --join names a member of one "
     "and --token-file a token of it; then data is kept on several nodes, and any one of three can "
     "be lost. Which lattice a folder belongs to never changes.\n\n"
     "Nodes of a lattice listen at an address that the others reach, not at 0.0.0.0.\n\n"
     "Exit code 6 if the folder is in use, of a newer format or not accessible, the port is in "
     "use, or the lattice does not take the node in; 7 if the data is damaged; 8 if the disk "
     "failed "
     "while it ran.",
     "lathwork start\n"
     "lathwork start --data /var/lib/lathwork --listen 10.0.0.1:7871 --memory 1G\n"
     "lathwork start --data d2 --listen 10.0.0.2:7871 --join 10.0.0.1:7871 --token-file token",
     NULL},
    {"up", LW_GROUP_NODE, "", 0, 0, NODE | BIT(DATA) | BIT(NODES),
     "run several nodes on this machine",
     "Starts so many nodes of one lattice, each a process of its own, in the folders n1, n2, ... "
     "of "
     "--data, at the port of --listen and those that follow. What they print has the node's name "
     "before it. Ctrl-C stops them all; the same command starts them again. When one ends the "
     "others go on. For development: machines fail as a whole.",
     "lathwork up\n"
     "lathwork up -n 5 --data lattice",
     NULL},
    {"token", LW_GROUP_NODE, "", 0, 0, REACH | BIT(DATA) | BIT(EXPIRES) | BIT(REVOKE) | BIT(LIST),
     "make a token that lets a node join, or take one back",
     "Prints a token of the lattice that the folder belongs to; its node may be running. Whoever "
     "has it can bring a node in, until it expires: keep it secret. A node that starts writes one, "
     "too, into the file join-token of its folder.\n\n"
     "--revoke asks the node at --addr to have a token let nobody in any more. It returns when all "
     "members know that are reached, and names those that do not: until they are back, they would "
     "let it in. Who came in by it stays: lathwork leave takes it out, with --force if it does not "
     "answer.\n\n"
     "--list prints the tokens that the node at --addr made since it started, and all that are "
     "revoked:\n\n"
     "  ID  EXPIRES  REVOKED\n\n"
     "EXPIRES is universal time. Of tokens made in a folder no node knows before they are revoked.",
     "lathwork token --data d1 > token\n"
     "lathwork token --data d1 --expires 30m\n"
     "lathwork token --revoke token --addr 10.0.0.7:7871",
     NULL},
    {"key", LW_GROUP_NODE, "[rotate]", 0, 1, REACH, "change the lattice's key",
     "Links between nodes, tokens and the bus are protected by a key that all members have. rotate "
     "makes another one: it goes to all members, each has both for a while, and when all use the "
     "new one the old one is forgotten. Nothing stops meanwhile. All tokens made with the old key "
     "are worth nothing then.\n\n"
     "A member that is away is waited for, until it counts as dead (start --dead-after). When it "
     "comes back later it is told so: start it with --join and a new token; it keeps its data. "
     "Whoever is a member gets the new key: first take out who should not (leave --force).\n\n"
     "Without an operand it prints which keys the members have, by their epochs:\n\n"
     "  NAME  ADDRESS  EPOCH  ALSO\n\n"
     "EPOCH is of the one in use, ALSO are those that are accepted besides.",
     "lathwork key rotate\n"
     "lathwork key --json | jq .changing",
     lw_command_key},
    {"status", LW_GROUP_NODE, "", 0, 0, REACH, "say how the lattice is, and the node",
     "Prints how the lattice is, as the node sees it, then the node's own account of itself; of "
     "several nodes, on a terminal, only a line for each, and what moves.\n\n"
     "healthy: every shard has all its replicas. degraded: some have lost some, or a node is not "
     "reached, has a full disk, or is far behind; everything can be used. unavailable: some shards "
     "have lost too many, and cannot be "
     "used until their nodes are back. can_lose: so many nodes, whichever, can be lost besides.\n\n"
     "Besides: shards that move, and whereto; shards that are being merged; replicas that are "
     "damaged, and come anew; snapshots that are being sent; nodes whose wall clock differs from "
     "most others' by a second or more. That stops nothing; but while such a node hands out "
     "timestamps (it leads the first shard), what put --ttl and --retention say may pass at double "
     "or half the speed.",
     "lathwork status\n"
     "lathwork status --json | jq .health",
     lw_command_status},
    {"ping", LW_GROUP_NODE, "[NODE]", 0, 1, REACH, "see whether a node answers",
     "Asks the node at --addr, or NODE, which that one knows. Exit code 3 if it does not answer.",
     "lathwork ping --addr 10.0.0.7:7871\n"
     "lathwork ping n2",
     lw_command_ping},
    {"nodes", LW_GROUP_NODE, "", 0, 0, REACH, "list the nodes of the lattice",
     "Prints a line for each, as the asked node knows it:\n\n"
     "  NAME  NODE  ADDRESS  STATE  LINK  HEARD  ZONE  SHARDS  LEADERS  BYTES  TROUBLE\n\n"
     "NAME is what people call it, n1, n2, ... unless start was given one; NODE, its id. Commands "
     "take a name, an address, or the first digits of an id. "
     "STATE is what the node says of itself: joining, up, draining, leaving. LINK is whether the "
     "asked node reaches it, and since when; HEARD, how long ago it was heard on the bus. SHARDS "
     "are "
     "replicas that it holds, LEADERS those that it leads; TROUBLE, why what it holds would not "
     "help "
     "if another were lost.",
     "lathwork nodes\n"
     "lathwork nodes --json",
     lw_command_nodes},
    {"events", LW_GROUP_NODE, "", 0, 0, REACH | BIT(FOLLOW), "say what happened in the lattice",
     "Prints what the nodes remember, a line each, oldest first:\n\n"
     "  TIME  EVENT  NODE  SHARD  TEXT\n\n"
     "Who came, went, and was not reached or heard is told as the asked node saw it. What became "
     "of shards, by itself or by hand, is told by all members that it reaches. TIME is of the "
     "clock of whoever tells it, in universal time.",
     "lathwork events\n"
     "lathwork events -f --json",
     lw_command_events},
    {"plan", LW_GROUP_NODE, "", 0, 0, REACH, "say what is about to move, and why",
     "Prints a line for each shard: its next step, and the reason for it, or why there is none; "
     "with --json also on which nodes it is wanted, as they are. Each leader decides for its own "
     "shards, so all members are asked that the node at --addr reaches.",
     "lathwork plan\n"
     "lathwork plan --json | jq '.plan[] | select(.step != \"nothing\")'",
     lw_command_plan},
    {"drain", LW_GROUP_NODE, "NODE", 1, 1, REACH | BIT(UNDO), "move everything off a node",
     "The node gives up what it leads and holds, as far as others can take it; it stays a member. "
     "Returns at once: lathwork nodes shows how it empties. NODE is its name, its address, or the "
     "first digits of its id.",
     "lathwork drain n2\n"
     "lathwork drain --undo 10.0.0.7:7871",
     lw_command_drain_node},
    {"leave", LW_GROUP_NODE, "NODE", 1, 1, REACH | BIT(FORCE), "take a node out for ever",
     "The node empties first, as with drain, then it is no member any more, and ends. Its folder "
     "cannot be used again. NODE is its name, its address, or the first digits of its id.",
     "lathwork leave n2\n"
     "lathwork leave --force 3f9a",
     lw_command_leave},
    {"move", LW_GROUP_NODE, "SHARD NODE", 2, 2, REACH | BIT(FROM), "have a node hold a shard",
     "The node takes the place of another one that holds it, once it has all of its data. Waits "
     "for that, as long as --timeout says.\n\n"
     "Shards go by themselves where zones, capacity and even shares want them (lathwork plan). One "
     "that is moved elsewhere stays for ten seconds, and goes back once all is calm; it is said "
     "when that is to be. What lasts is to drain a node, or to give it another zone or capacity.",
     "lathwork move 1 n2\n"
     "lathwork move 1 n2 --from n3 --timeout 5m",
     lw_command_move},
    {"transfer", LW_GROUP_NODE, "SHARD NODE", 2, 2, REACH, "have a node lead a shard",
     "The leader hands over to another node that holds the shard. It may come back.",
     "lathwork transfer 1 n2", lw_command_transfer},
    {"locks", LW_GROUP_NODE, "", 0, 0, REACH | BIT(LIMIT),
     "say who has which keys locked, and who waits",
     "Prints a line for each locked key, in the order of keys, and behind it one for each "
     "transaction that waits for it, first come first served:\n\n"
     "  KEY  LOCK  TRANSACTION  FOR  EXPIRES  CLIENT\n\n"
     "LOCK is pessimistic: in memory, until its transaction or its session ends, FOR so long; "
     "prewritten or async: a commit is under way since its transaction began, and when it EXPIRES "
     "others may roll it back; or waits. CLIENT is the label of its session. At most 16 waits of a "
     "key are told, and how many more there are.",
     "lathwork locks\n"
     "lathwork locks --json --limit 100\n"
     "lathwork txn kill 461168601842738790",
     lw_command_locks},
    {"shards", LW_GROUP_NODE, "", 0, 0, REACH, "list the shards",
     "Prints a line for each shard, in the order of their ranges:\n\n"
     "  SHARD  FROM  TO  VERSION  BYTES  REQUESTS  LEADER  ADDRESS  NODES\n\n"
     "Each key from FROM on and before TO, both escaped, lies in the shard; the first FROM and the "
     "last TO are empty. VERSION counts its splits and the changes of its replicas. BYTES are "
     "about what it has in memory and on disk of the asked node, REQUESTS what that has done for "
     "it since it started. LEADER is the name of the node that serves it, at ADDRESS. --json tells "
     "all "
     "nodes that hold it. A shard that grows beyond --shard-size is split by itself, and so is one "
     "that is asked for more than a node's share.",
     "lathwork shards\n"
     "lathwork shards --json",
     lw_command_shards},
    {"split", LW_GROUP_NODE, "KEY...", 1, -1, REACH | FORM, "let shards begin at keys",
     "Cuts the shard that holds a key in two, so that one begins there; one key after the other. "
     "Copies nothing: what was one file is then seen by both. Where a shard begins already nothing "
     "happens.",
     "lathwork split user/5000\n"
     "lathwork split --hex 40 80 c0",
     lw_command_split},
    {"merge", LW_GROUP_NODE, "SHARD", 1, 1, REACH, "have a shard take in its right neighbour",
     "The two become one, which keeps the number of the left one. Copies nothing. Both have to be "
     "on the same nodes, all of which are up: where they are not, it says so, and lathwork move "
     "brings them together. Small neighbours that have little to do are merged by themselves after "
     "a while.",
     "lathwork shards\n"
     "lathwork merge 1",
     lw_command_merge},
    {"bench", LW_GROUP_NODE, "[WORKLOAD...]", 0, -1,
     REACH | BIT(ISOLATION) | BIT(RECORDS) | BIT(CLIENTS) | BIT(DURATION) | BIT(WORKLOAD) |
         BIT(HISTORY),
     "measure a node with the YCSB workloads",
     "Stores records of 1000 bytes under bench/, lets many clients run each workload for a while, "
     "tells rates and latencies, and takes the records away again. Every operation is a "
     "transaction, durable when it is answered. The workloads of the Yahoo! Cloud Serving "
     "Benchmark:\n\n"
     "  A  half reads, half updates        D  95 % reads of the latest, 5 % inserts\n"
     "  B  95 % reads, 5 % updates         E  95 % scans of up to 100, 5 % inserts\n"
     "  C  reads                           F  half reads, half read-modify-writes\n\n"
     "All of them, one after the other, unless some are named.\n\n"
     "With --workload and --history clients do what can be judged by lathwork sim --check FILE "
     "afterwards, whatever becomes of the nodes meanwhile: append (transactions over lists), bank "
     "(transfers that keep the sum), register (single operations).",
     "lathwork bench\n"
     "lathwork bench AF --clients 64 --duration 30s --json\n"
     "lathwork bench --workload append --history h.jsonl; lathwork sim --check h.jsonl",
     lw_command_bench},
    {"inspect", LW_GROUP_NODE, "PATH...", 1, -1, 0, "describe files of a data folder",
     "Tells a log segment, a table, a value file, a catalog and an identity apart by their bytes, "
     "and "
     "describes what is in each. A folder is listed. Reads only; files of a running node may "
     "change meanwhile.",
     "lathwork inspect lathwork-data\n"
     "lathwork inspect lathwork-data/CATALOG",
     NULL},
    {"check", LW_GROUP_NODE, "[DIR]", 0, 1, BIT(DATA), "verify a data folder",
     "Reads every file of a folder that no node has open, and verifies every checksum and the "
     "order of keys within and across tables. Prints a line for each fault.\n\n"
     "Exit code 7 if there is any, 6 if a node has the folder open.",
     "lathwork check lathwork-data", NULL},
    {"sim", LW_GROUP_SELF, "", 0, 0,
     BIT(SEED) | BIT(RUNS) | BIT(NODES) | BIT(CLIENTS) | BIT(SCENARIO) | BIT(FAULTS) |
         BIT(FAULTS_FILE) | BIT(NO_SHRINK) | BIT(BUG) | BIT(ONCE) | BIT(MARKS) | BIT(HASHES) |
         BIT(TRACE_HTML) | BIT(TRACE) | BIT(HISTORY) | BIT(CHECK) | BIT(ISOLATION),
     "run a node and clients in a simulated world",
     "Runs this program's own node and several clients in one thread, on virtual time, disks and "
     "networks, all decided by a seed; lets power fail, disks fail and networks stall; and checks "
     "that every acknowledged transaction is there, none is half there, and the histories are as "
     "isolated as they were promised to be. Each seed runs twice and must repeat itself.\n\n"
     "On a failure standard error tells what was violated, the last events, and which faults the "
     "failure needs: a file in the working folder holds these, and the command that repeats the "
     "run with them. Exit code 1 if there was any.\n\n"
     "With --check it judges a history of transactions recorded anywhere, each at its own "
     "isolation "
     "or all at the one given: exit code 1 if it shows an anomaly.",
     "lathwork sim --seed 7 --runs 100\n"
     "lathwork sim --scenario crash --seed 42 --trace events.txt\n"
     "lathwork sim --scenario lattice --nodes 5 --clients 8 --faults=-pause --json\n"
     "lathwork sim --check history.jsonl",
     NULL},
    {"config", LW_GROUP_SELF, "", 0, 0,
     BIT(ADDR) | BIT(TIMEOUT) | BIT(DATA) | NODE | BIT(JOIN) | BIT(TOKEN_FILE) | BIT(BUS_LISTEN) |
         BIT(ZONE) | BIT(NAME) | BIT(CAPACITY),
     "print each setting and where it comes from",
     "A flag comes before the environment, and that before the default. There is no "
     "configuration file.",
     "lathwork config\n"
     "LATHWORK_ADDR=10.0.0.7:7871 lathwork config --json",
     lw_command_config},
    {"version", LW_GROUP_SELF, "", 0, 0, 0, "print the version", "", "lathwork version",
     lw_command_version},
    {"help", LW_GROUP_SELF, "[COMMAND]", 0, 1, BIT(MAN) | BIT(COMPLETION),
     "say how to use a command", "",
     "lathwork help put\n"
     "lathwork help --man > lathwork.1\n"
     "source <(lathwork help --completion bash)",
     lw_command_help},
};

const lw_flag_spec *lw_flag(lw_flag_id id) {
    LW_ASSERT(id < LW_FLAG_COUNT);
    return &flags[id];
}

lw_flag_spec lw_flag_of(const lw_command_spec *spec, lw_flag_id id) {
    lw_flag_spec flag = *lw_flag(id);
    /* What is no row of the table is a program of liblathwork-sim. */
    const char *name = spec == NULL ? "" : lw_command_find(spec->name) == spec ? spec->name : "sim";
    for (size_t index = 0; index < sizeof(own_meanings) / sizeof(own_meanings[0]); index++) {
        const struct own_meaning *own = &own_meanings[index];
        if (own->id == id && strcmp(own->command, name) == 0) {
            flag.value = own->value;
            flag.default_value = own->default_value;
            flag.text = own->text;
        }
    }
    return flag;
}

const lw_command_spec *lw_command_table(size_t *count) {
    *count = sizeof(commands) / sizeof(commands[0]);
    return commands;
}

const lw_command_spec *lw_command_find(const char *name) {
    for (size_t index = 0; index < sizeof(commands) / sizeof(commands[0]); index++) {
        if (strcmp(commands[index].name, name) == 0) {
            return &commands[index];
        }
    }
    return NULL;
}

bool lw_command_takes(const lw_command_spec *spec, lw_flag_id id) {
    return (((spec == NULL ? 0 : spec->flags) | common_flags) >> id & 1) != 0;
}
