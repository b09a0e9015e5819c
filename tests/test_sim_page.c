/* SPDX-License-Identifier: Apache-2.0 */
/* The page of a run: sim/page.h. That browsers show it was looked at; here is what can be held to.
 */
#include "sim/child.h"
#include "sim/page.h"
#include "tests/unit.h"

static int arm(void **state) {
    (void)state;
    alarm(120);
    return 0;
}

static char path[] = "/tmp/lathwork-page-XXXXXX";

static char *read_page(void) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(size + 1);
    assert_true(fread(text, 1, size, file) == size);
    text[size] = 0;
    (void)fclose(file);
    return text;
}

static size_t count_of(const char *text, const char *words) {
    size_t count = 0;
    for (const char *at = strstr(text, words); at != NULL; at = strstr(at + 1, words)) {
        count++;
    }
    return count;
}

/* PAGE 1 */
static void drawing_changes_nothing(void **state) {
    (void)state;
    const char *scenarios[] = {"crash", "lattice", "lattice-storm"};
    for (size_t index = 0; index < sizeof(scenarios) / sizeof(scenarios[0]); index++) {
        lw_memory *memory = lw_memory_open();
        lw_run_options options = {.scenario = lw_scenario_find(scenarios[index]), .seed = 2};
        lw_run_result plain, drawn;
        lw_scenario_run(&options, memory, NULL, NULL, &plain);
        options.page = path;
        lw_scenario_run(&options, memory, NULL, NULL, &drawn);
        assert_true(plain.hash == drawn.hash);
        char *text = read_page();
        assert_non_null(strstr(text, scenarios[index]));
        assert_non_null(strstr(text, "</html>\n"));
        assert_non_null(strstr(text, "\"failures\":[]"));
        free(text);
        lw_buffer_reset(&plain.failures);
        lw_buffer_reset(&drawn.failures);
        assert_int_equal(lw_memory_used(memory), 0);
        lw_memory_close(memory);
    }
}

/* Also of one that did not live to tell: its parent adds why. */
static void a_failure_is_on_its_page(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    const char *bugs[] = {"group.apply_uncommitted", NULL};
    lw_run_options options = {.scenario = lw_scenario_find("lattice"), .bugs = bugs, .page = path};
    bool cut_short = false;
    for (options.seed = 1; options.seed < 20 && !cut_short; options.seed++) {
        lw_child_outcome outcome;
        lw_child_run(&options, false, memory, NULL, NULL, &outcome);
        cut_short = !outcome.ended;
        lw_child_outcome_reset(&outcome);
    }
    assert_true(cut_short);
    char *text = read_page();
    const char *told = strstr(text, "<script>showFailure(");
    assert_non_null(told);
    assert_non_null(strstr(told, "assertion failed"));
    assert_int_equal(count_of(text, "</html>"), 1);
    free(text);
    lw_memory_close(memory);
}

static char *page_of(lw_page *page, const char *failures) {
    FILE *file = fopen(path, "w");
    lw_page_write(page, "</script><b>", "about & \"so\"", lw_text(failures), NULL, file);
    lw_page_finish("<img> & more\nnot this", file);
    (void)fclose(file);
    return read_page();
}

/* PAGE 3 */
static void what_came_out_of_a_run_is_no_markup(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    uint64_t now = 2000000000;
    lw_page *page = lw_page_open(memory, &now);
    lw_page_add_lane(page, "<node>", true);
    lw_page_event(page, "<node>", "boot", "</script><script>alert(1)");
    lw_page_fail(page, "broken: <here>");
    char *text = page_of(page, "broken: <here>\n");
    assert_null(strstr(text, "<here>"));
    assert_null(strstr(text, "<node>"));
    assert_null(strstr(text, "alert(1)\"]]</"));
    assert_null(strstr(text, "</script><script>alert"));
    assert_null(strstr(text, "<img>"));
    assert_null(strstr(text, "not this"));
    assert_non_null(strstr(text, "\\u003chere>"));
    assert_non_null(strstr(text, "[2000000,\"broken: "));
    free(text);
    lw_page_close(page);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

/* PAGE 2 */
static void of_too_much_the_oldest_is_left_out(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    uint64_t now = 2000000000;
    lw_page *page = lw_page_open(memory, &now);
    lw_page_add_lane(page, "node", true);
    lw_page_add_lane(page, "client0", false);
    for (uint64_t number = 0; number < LW_PAGE_MESSAGES_MAX + 7; number++) {
        lw_page_came(page, "client0", "node", false, now - 1000, (size_t)number);
        lw_page_txn_end(page, lw_page_txn_begin(page, "client0", "bank", 0), "committed");
        lw_page_event(page, "node", "boot", "");
        lw_page_state_set(page, "node", LW_PAGE_LEADING, number % 700, number, true);
        now += 1000000;
    }
    lw_page_ended(page, "node");
    char *text = page_of(page, "");
    assert_true(strlen(text) < 6000000);
    assert_non_null(strstr(text, "the first 7 messages"));
    assert_non_null(strstr(text, " transactions\""));
    assert_null(strstr(text, "[5,1,0,999999,1000000,6]"));
    assert_non_null(strstr(text, ",40006]"));
    free(text);
    lw_page_close(page);
    lw_memory_close(memory);
}

static int take_file(void **state) {
    int file = mkstemp(path);
    return file < 0 || close(file) != 0 ? -1 : arm(state);
}
static int drop_file(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawing_changes_nothing),
        cmocka_unit_test(a_failure_is_on_its_page),
        cmocka_unit_test(what_came_out_of_a_run_is_no_markup),
        cmocka_unit_test(of_too_much_the_oldest_is_left_out),
    };
    return cmocka_run_group_tests(tests, take_file, drop_file) != 0 ? 1 : 0;
}
