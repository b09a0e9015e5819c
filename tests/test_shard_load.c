/* SPDX-License-Identifier: Apache-2.0 */
/* Where the requests to a shard have their middle. */
#include "tests/shard_bench.h"

static void write_number(bench *on, uint32_t number) {
    char key[24];
    (void)snprintf(key, sizeof(key), "key/%03u", (unsigned)number);
    (void)bench_write(on, key, "value");
}

/* "-" if there is none. */
static const char *middle(bench *on) {
    lw_buffer key = lw_buffer_in(on->memory);
    if (lw_replica_load_middle(on->replica, &key) != LW_OK) {
        return "-";
    }
    lw_buffer_append_u8(&key, 0);
    return (const char *)key.data;
}

static void tell(bench_story *story) {
    char failure[256];
    bench_tell(story, 1, NULL, failure);
    if (failure[0] != 0) {
        fail_msg("%s", failure);
    }
}

static void even_story(bench *on) {
    expect_text(on, middle(on), "-", "nobody is watched at first");
    lw_replica_load_watch(on->replica, 1);
    for (uint32_t number = 0; number < 60; number++) {
        write_number(on, number);
    }
    expect_text(on, middle(on), "-", "a few requests say nothing");
    for (uint32_t number = 60; number < 200; number++) {
        write_number(on, number * 7 % 200);
    }
    const char *key = middle(on);
    expect(on, strcmp(key, "key/040") > 0 && strcmp(key, "key/120") < 0, key);
    lw_replica_load_watch(on->replica, 0);
    expect_text(on, middle(on), "-", "nor later");
}

static void requests_are_halved(void **state) {
    (void)state;
    tell(even_story);
}

/* Three of four requests are for one key: beside it there is no room for another half. */
static void hot_story(bench *on) {
    lw_replica_load_watch(on->replica, 1);
    for (uint32_t number = 0; number < 300; number++) {
        write_number(on, number % 10 < 8 ? 50 : number % 100);
    }
    expect_text(on, middle(on), "-", "one hot key cannot be divided");
    for (uint32_t number = 0; number < 300; number++) {
        write_number(on, number % 2 == 0 ? 50 : 90);
    }
    expect_text(on, middle(on), "key/090", "two can; what was long ago is forgotten");
}

static void one_hot_key_cannot_be_divided(void **state) {
    (void)state;
    tell(hot_story);
}

/* What is noted now and then stands for all, in whatever rhythm it comes. */
static void stride_story(bench *on) {
    lw_replica_load_watch(on->replica, 4);
    for (uint32_t number = 0; number < 1000; number++) {
        write_number(on, number % 4 == 0 ? 10 : number % 4 == 1 ? 20 : number % 4 == 2 ? 80 : 90);
    }
    expect_text(on, middle(on), "key/080", "the middle");
}

static void strides_keep_step_with_nobody(void **state) {
    (void)state;
    tell(stride_story);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_halved),
        cmocka_unit_test(one_hot_key_cannot_be_divided),
        cmocka_unit_test(strides_keep_step_with_nobody),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
