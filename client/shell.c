/* SPDX-License-Identifier: Apache-2.0 */
/* shell: steps typed by a person, in transactions that stay open between lines. The only file that
 * knows libedit, which edits lines and keeps the history when standard input is a terminal.
 *
 * Invariants
 * 1. Outside `begin … commit` a step is a transaction of its own, run again when others were first.
 * 2. A transaction that a failure ended is never gone on with: steps are refused until `begin`. */
#include "client/command.h"

#include "base/logline.h"
#include "client/command_script.h"

#include <errno.h>
#include <histedit.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { HISTORY_LINES = 1000, TRANSACTION_MS = 10 * 60 * 1000 };

typedef struct shell {
    lw_command *command;
    lw_client *client;
    lw_txn *txn;    /* NULL: none is open */
    lw_arena arena; /* of the current line */
    lw_buffer out;
    uint64_t line;
    lw_exit code; /* of the last line */
    bool over;
    EditLine *editor; /* NULL: lines come from a file */
    History *history;
    char history_path[LW_ERROR_TEXT_SIZE];
    char *unedited; /* the last line that was not edited */
    size_t unedited_size;
} shell;

/* ---- answers -----------------------------------------------------------------------------------
 */

/* Prints what a line came to. */
static void failed(shell *this, lw_status status, const char *cause, const char *hint,
                   const char *what) {
    this->code = lw_command_fail(this->command, status, cause, hint, "%s", what);
}

static void failed_client(shell *this, lw_status status, const char *what) {
    this->code = lw_command_fail_client(this->command, status, this->client, what);
}

static void print_answers(shell *this) {
    lw_command_drain(this->command, &this->out, true);
    (void)fflush(this->command->answers);
}

/* ---- transactions ------------------------------------------------------------------------------
 */

static bool word_is(const lw_words *words, size_t index, const char *text) {
    return index < words->count && lw_equal(words->words[index], lw_text(text));
}

static void end_transaction(shell *this) {
    lw_txn_close(this->txn);
    this->txn = NULL;
}

static void begin(shell *this, const lw_words *words) {
    lw_txn_options options = lw_command_txn_options(this->command);
    if (!lw_command_given(this->command, LW_FLAG_TIMEOUT)) {
        options.timeout_ms = TRANSACTION_MS;
    }
    for (size_t index = 1; index < words->count; index++) {
        if (word_is(words, index, "strict") || word_is(words, index, "snapshot")) {
            options.isolation = word_is(words, index, "strict") ? LW_STRICT : LW_SNAPSHOT;
        } else if (word_is(words, index, "pessimistic")) {
            options.locking = LW_PESSIMISTIC;
        } else {
            failed(this, LW_INVALID_ARGUMENT, "the line is: begin [strict|snapshot] [pessimistic]",
                   "help", "no transaction was begun");
            return;
        }
    }
    if (this->txn != NULL) {
        failed(this, LW_INVALID_ARGUMENT, "one is open already", "commit, or rollback",
               "no transaction was begun");
        return;
    }
    lw_status status = lw_begin(this->client, &options, &this->txn);
    if (status != LW_OK) {
        this->txn = NULL;
        failed_client(this, status, "no transaction was begun");
    }
}

/* The commit's answer was lost: asks once, since a person would do nothing else. */
static void ask_outcome(shell *this) {
    uint64_t timestamp;
    lw_status status = lw_txn_outcome(this->client, lw_txn_token(this->txn), &timestamp);
    if (status == LW_OK) {
        lw_command_say(this->command, "committed at %llu, as the node says when asked again",
                       (unsigned long long)timestamp);
    } else if (status == LW_NOT_FOUND) {
        failed(this, LW_TIMEOUT, "the node says, when asked again, that it never will be", "begin",
               "the transaction was not committed");
    } else {
        char cause[LW_ERROR_TEXT_SIZE];
        (void)snprintf(cause, sizeof(cause), "%.200s; its token is %.200s",
                       lw_client_error(this->client), lw_txn_token(this->txn));
        failed(this, LW_UNDETERMINED, cause, NULL,
               "the transaction may or may not have been committed");
    }
}

static void commit(shell *this) {
    lw_status status = lw_commit(this->txn);
    if (status == LW_OK) {
        uint64_t timestamp = lw_commit_timestamp(this->txn);
        if (timestamp > 0) {
            lw_command_say(this->command, "committed at %llu", (unsigned long long)timestamp);
        } else {
            lw_command_say(this->command, "committed: there was nothing to write");
        }
    } else if (status == LW_UNDETERMINED) {
        ask_outcome(this);
    } else {
        failed_client(this, status, "the transaction was not committed");
    }
    end_transaction(this);
}

static void rollback(shell *this) {
    lw_status status = lw_rollback(this->txn);
    if (status != LW_OK) {
        failed_client(this, status, "the node did not hear of the rollback; nothing is committed");
    }
    end_transaction(this);
}

/* ---- steps -------------------------------------------------------------------------------------
 */

typedef struct step_work {
    shell *shell;
    const lw_step *step;
    lw_error why;
} step_work;

static lw_status step_body(lw_txn *txn, void *argument) {
    step_work *work = argument;
    shell *this = work->shell;
    lw_buffer_clear(&this->out);
    lw_step_answers answers = {.out = &this->out,
                               .form = LW_FORM_ESCAPED,
                               .as_json = this->command->json,
                               .json = lw_json_to(&this->out)};
    work->why.status = LW_OK;
    LW_TRY(lw_step_run(txn, work->step, &answers, &work->why));
    if (this->command->json && this->out.size > 0) {
        lw_buffer_append_u8(&this->out, '\n');
    }
    return LW_OK;
}

/* Whether the transaction can go on after a step came to this. */
static bool goes_on(lw_status status) {
    return status == LW_NOT_FOUND || status == LW_EXISTS || status == LW_INVALID_ARGUMENT;
}

static void run_step(shell *this, const lw_words *words) {
    lw_step step;
    if (lw_step_read(words, this->line, &step) != LW_OK) {
        failed(this, LW_INVALID_ARGUMENT, lw_error_slot()->text, "help",
               "the line cannot be understood");
        return;
    }
    step_work work = {.shell = this, .step = &step};
    lw_txn_options options = lw_command_txn_options(this->command);
    lw_status status = this->txn != NULL ? step_body(this->txn, &work)
                                         : lw_run(this->client, &options, step_body, &work);
    if (status == LW_OK) {
        print_answers(this);
    } else if (work.why.status == status) {
        failed(this, status, work.why.text, this->txn == NULL ? "get KEY" : "get KEY, or rollback",
               "it is not as expected");
    } else {
        failed_client(this, status, "the step failed");
    }
    if (this->txn != NULL && status != LW_OK && !goes_on(status)) {
        lw_command_say(this->command, "The transaction is over, and nothing of it is committed.");
        end_transaction(this);
    }
}

/* ---- lines -------------------------------------------------------------------------------------
 */

static void help(shell *this) {
    lw_buffer out = lw_buffer_in(this->command->memory);
    lw_buffer_append(&out, lw_text("get KEY                    put KEY VALUE\n"
                                   "insert KEY VALUE           del KEY...\n"
                                   "scan PREFIX [COUNT]        expect KEY VALUE\n"
                                   "expect-absent KEY          append KEY VALUE\n"
                                   "add KEY NUMBER             min, max KEY NUMBER\n"
                                   "put-stamped-key PREFIX SUFFIX VALUE\n"
                                   "savepoint NAME             rollback-to NAME\n"
                                   "begin [strict|snapshot] [pessimistic]\n"
                                   "commit                     rollback\n"
                                   "status                     quit\n"
                                   "A word with blanks in it stands in double quotes; \\t \\n \\\\ "
                                   "\\\" \\xNN are escapes.\n"));
    lw_command_drain(this->command, &out, true);
    lw_buffer_reset(&out);
}

static void node_status(shell *this) {
    lw_bytes json;
    lw_status status = lw_node_status(this->client, &json);
    if (status == LW_OK) {
        this->code = lw_command_print_status(this->command, json);
    } else {
        failed_client(this, status, "the node does not say how it is");
    }
}

static bool run_word(shell *this, const lw_words *words) {
    bool end = word_is(words, 0, "commit") || word_is(words, 0, "rollback");
    if (end && this->txn == NULL) {
        failed(this, LW_INVALID_ARGUMENT, "no transaction is open", "begin",
               "there is none to end");
    } else if (word_is(words, 0, "commit")) {
        commit(this);
    } else if (word_is(words, 0, "rollback")) {
        rollback(this);
    } else if (word_is(words, 0, "begin")) {
        begin(this, words);
    } else if (word_is(words, 0, "status")) {
        node_status(this);
    } else if (word_is(words, 0, "help")) {
        help(this);
    } else if (word_is(words, 0, "quit") || word_is(words, 0, "exit")) {
        this->over = true;
    } else {
        return false;
    }
    return true;
}

static void run_line(shell *this, lw_bytes line) {
    lw_words words;
    this->line++;
    this->code = LW_EXIT_DONE;
    lw_arena_reset(&this->arena);
    if (lw_words_read(line, &this->arena, &words) != LW_OK) {
        failed(this, LW_INVALID_ARGUMENT, lw_error_slot()->text, "help",
               "the line cannot be understood");
    } else if (words.count > 0 && !run_word(this, &words)) {
        run_step(this, &words);
    }
    (void)fflush(this->command->answers);
}

/* ---- editing -----------------------------------------------------------------------------------
 */

static char *prompt(EditLine *editor) {
    static const char alone[] = "lathwork> ";
    static const char inside[] = "lathwork (transaction)> ";
    void *data = NULL;
    (void)el_get(editor, EL_CLIENTDATA, &data);
    const shell *this = data;
    /* libedit only reads it. */
    return (char *)(uintptr_t)(this->txn == NULL ? alone : inside);
}

/* Completes the first word of a line. */
static unsigned char complete(EditLine *editor, int key) {
    static const char *const firsts[] = {
        "get ",      "put ",           "insert ", "del ",       "scan ",
        "expect ",   "expect-absent ", "begin ",  "commit ",    "status ",
        "rollback ", "help ",          "quit ",   "savepoint ", "rollback-to ",
        "add ",      "min ",           "max ",    "append ",    "put-stamped-key ",
    };
    (void)key;
    const LineInfo *info = el_line(editor);
    size_t size = (size_t)(info->cursor - info->buffer);
    const char *found = NULL;
    for (size_t index = 0; index < sizeof(firsts) / sizeof(firsts[0]); index++) {
        if (size > 0 && strncmp(firsts[index], info->buffer, size) == 0) {
            if (found != NULL) {
                return CC_REFRESH_BEEP;
            }
            found = firsts[index];
        }
    }
    if (found == NULL || found[size] == 0 || el_insertstr(editor, found + size) != 0) {
        return CC_REFRESH_BEEP;
    }
    return CC_REFRESH;
}

/* Makes the folders of the history, so that only its owner may look into them. */
static bool find_history(shell *this) {
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int size = -1;
    if (state != NULL && state[0] == '/') {
        size =
            snprintf(this->history_path, sizeof(this->history_path), "%s/lathwork/history", state);
    } else if (home != NULL && home[0] == '/') {
        size = snprintf(this->history_path, sizeof(this->history_path),
                        "%s/.local/state/lathwork/history", home);
    }
    if (size < 0 || (size_t)size >= sizeof(this->history_path)) {
        return false;
    }
    for (char *slash = strchr(this->history_path + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool made = mkdir(this->history_path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made) {
            return false;
        }
    }
    return true;
}

static void open_editor(shell *this) {
    lw_command *command = this->command;
    this->editor = el_init("lathwork", command->in, command->answers, command->talk);
    if (this->editor == NULL) {
        return;
    }
    HistEvent event;
    this->history = history_init();
    if (this->history != NULL) {
        (void)history(this->history, &event, H_SETSIZE, HISTORY_LINES);
        (void)history(this->history, &event, H_SETUNIQUE, 1);
        (void)el_set(this->editor, EL_HIST, history, this->history);
        if (find_history(this)) {
            (void)history(this->history, &event, H_LOAD, this->history_path);
        } else {
            this->history_path[0] = 0;
        }
    }
    (void)el_set(this->editor, EL_CLIENTDATA, this);
    (void)el_set(this->editor, EL_PROMPT, prompt);
    (void)el_set(this->editor, EL_EDITOR, "emacs");
    (void)el_set(this->editor, EL_SIGNAL, 1);
    (void)el_set(this->editor, EL_ADDFN, "complete", "completes a word", complete);
    (void)el_set(this->editor, EL_BIND, "^I", "complete", NULL);
    (void)el_source(this->editor, NULL);
}

/* After every line, so that a lost terminal loses none. */
static void keep_history(shell *this, const char *line) {
    HistEvent event;
    if (this->history == NULL || line[strspn(line, " \t\n")] == 0) {
        return;
    }
    (void)history(this->history, &event, H_ENTER, line);
    if (this->history_path[0] != 0) {
        (void)history(this->history, &event, H_SAVE, this->history_path);
    }
}

static void close_editor(shell *this) {
    if (this->history != NULL) {
        history_end(this->history);
    }
    if (this->editor != NULL) {
        el_end(this->editor);
    }
    free(this->unedited);
}

static void on_interrupt(int signal_number) {
    (void)signal_number; /* that it came ends the reading */
}

/* A line as a person edits it; NULL at the end. Ctrl-C gives the line up and begins another. While
 * a step runs, Ctrl-C ends the program, as everywhere. */
static const char *edit_line(shell *this, size_t *size) {
    struct sigaction noted = {.sa_handler = on_interrupt}, before;
    const char *line;
    int count, reason;
    do {
        (void)sigaction(SIGINT, &noted, &before);
        count = 0;
        errno = 0;
        line = el_gets(this->editor, &count);
        reason = errno;
        (void)sigaction(SIGINT, &before, NULL);
        if (line == NULL && reason == EINTR) {
            (void)fputc('\n', this->command->answers);
        }
    } while (line == NULL && reason == EINTR);
    if (line == NULL || count <= 0) {
        return NULL;
    }
    keep_history(this, line);
    *size = (size_t)count;
    return line;
}

/* The next line with its newline, if it has one; NULL at the end. */
static const char *next_line(shell *this, size_t *size) {
    if (this->editor != NULL) {
        return edit_line(this, size);
    }
    ssize_t count = getline(&this->unedited, &this->unedited_size, this->command->in);
    *size = count < 0 ? 0 : (size_t)count;
    return count < 0 ? NULL : this->unedited;
}

/* ---- the command -------------------------------------------------------------------------------
 */

static lw_exit run_lines(shell *this) {
    bool person = this->command->in_terminal;
    const char *line;
    size_t size;
    while (!this->over && (line = next_line(this, &size)) != NULL) {
        size -= size > 0 && line[size - 1] == '\n';
        run_line(this, lw_view(line, size));
        if (!person && this->code != LW_EXIT_DONE) {
            return this->code;
        }
    }
    if (this->txn != NULL) {
        lw_command_say(this->command, "The open transaction is rolled back.");
        end_transaction(this);
    }
    return LW_EXIT_DONE;
}

lw_exit lw_command_shell(lw_command *command) {
    shell this = {.command = command,
                  .arena = lw_arena_in(command->memory),
                  .out = lw_buffer_in(command->memory)};
    lw_exit code = lw_command_connect(command, &this.client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    if (command->in_terminal) {
        open_editor(&this);
        lw_command_say(command, "Lathwork %s, with the node at %s. Type help.", lw_version(),
                       command->flags[LW_FLAG_ADDR].text);
    }
    code = run_lines(&this);
    close_editor(&this);
    lw_close(this.client); /* closes what is still open */
    return code;
}
