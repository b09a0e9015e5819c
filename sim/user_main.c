/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a user's workload: from its command line, or from a program of its own. */
#include "sim/command.h"
#include "sim/user.h"

#include <errno.h>
#include <inttypes.h>

/* ---- what is wrong with a request ---------------------------------------------------------------
 */

/* NULL: nothing. */
static const char *judge_workload(const lw_sim_workload *workload) {
    if (workload->client == NULL) {
        return "the workload has no `client`: the callback that clients call again and again";
    }
    if (workload->client_count > LW_SIM_CLIENTS_MAX) {
        return "the workload has more clients than there may be, 12";
    }
    return NULL;
}

static bool is_setting(const char *text) {
    const char *equals = strchr(text, '=');
    return equals != NULL && equals != text;
}

/* ---- the command line ---------------------------------------------------------------------------
 */

static const char examples[] = "--runs 100\n"
                               "--scenario lattice --seed 42 --trace events.txt\n"
                               "--scenario crash --seed 42 --history said.jsonl";

static lw_exit run_command(lw_command *command, const lw_sim_workload *workload, int argc,
                           char **argv) {
    lw_status status = lw_command_parse(command, argc > 0 ? argc - 1 : 0,
                                        (const char *const *)(argv + (argc > 0)));
    lw_command_streams(command, stdin, stdout, stderr);
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, "see --help",
                               "the command line cannot be understood");
    }
    if (lw_command_given(command, LW_FLAG_HELP)) {
        lw_command_help_print(command, command->spec);
        return LW_EXIT_DONE;
    }
    const char *wrong = judge_workload(workload);
    for (int index = 0; wrong == NULL && index < command->operand_count; index++) {
        wrong = is_setting(command->operands[index]) ? NULL : "operands are NAME=VALUE";
    }
    if (wrong != NULL) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT, wrong, "see --help",
                               "there is nothing to run");
    }
    return lw_sim_command_of(command, workload);
}

int lw_sim_main(int argc, char **argv, const lw_sim_workload *workload) {
    const lw_command_spec *simulator = lw_command_find("sim");
    lw_command_spec spec = {
        .name = argc > 0 ? argv[0] : "program",
        .group = LW_GROUP_SELF,
        .operands = "[NAME=VALUE...]",
        .operand_max = -1,
        .flags = simulator->flags,
        .summary = workload->name == NULL ? "a workload in a simulated world" : workload->name,
        .text = workload->text == NULL ? "" : workload->text,
        .examples = examples,
    };
    lw_command command = {
        .memory = lw_memory_open(), .spec = &spec, .program = spec.name, .operand_count = 0};
    lw_exit code = run_command(&command, workload, argc, argv);
    code = lw_command_finish(&command, code);
    lw_memory_close(command.memory);
    return (int)code;
}

/* ---- a program's own frame ----------------------------------------------------------------------
 */

typedef struct frame {
    lw_memory *memory;
    const lw_sim_options *options;
    lw_run_options run; /* its report is a file without a name */
    lw_sim_result *result;
} frame;

/* Appends what the run reported, as far as there is room. */
static void read_report(FILE *report, char *text, size_t size, size_t used) {
    if (report != NULL && used + 1 < size) {
        rewind(report);
        used += fread(text + used, 1, size - used - 1, report);
        text[used] = 0;
    }
}

static void add_result(frame *it, const lw_run_result *run) {
    lw_sim_result *all = it->result;
    all->run_count++;
    all->hash = run->hash;
    all->came_through += run->committed;
    all->refused += run->failed;
    all->in_doubt += run->in_doubt;
    all->virtual_ms += run->virtual_ns / LW_SIM_NS_PER_MS;
    if (run->passed) {
        return;
    }
    if (all->failed_count++ == 0) {
        all->seed = it->run.seed;
        int size = snprintf(all->failure, sizeof(all->failure), "%.*s", (int)run->failures.size,
                            (const char *)run->failures.data);
        read_report(it->run.report, all->failure, sizeof(all->failure), (size_t)size);
    }
}

static void run_seed(frame *it) {
    lw_run_result first, second;
    lw_scenario_run(&it->run, it->memory, NULL, NULL, &first);
    if (it->options->once == 0) {
        lw_run_options again = it->run;
        again.trace = again.report = NULL;
        lw_scenario_run(&again, it->memory, NULL, NULL, &second);
        if (second.hash != first.hash) {
            first.passed = false;
            lw_user_differ(&again, it->memory, &first.failures);
        }
        lw_buffer_reset(&second.failures);
    }
    add_result(it, &first);
    lw_buffer_reset(&first.failures);
}

static lw_status refuse(lw_sim_result *result, const char *what) {
    (void)snprintf(result->failure, sizeof(result->failure), "%s", what);
    return LW_INVALID_ARGUMENT;
}

static lw_status take_options(frame *it, const lw_sim_workload *workload) {
    const lw_sim_options *options = it->options;
    const char *name = options->scenario != NULL ? options->scenario : workload->scenario;
    it->run.user = workload;
    it->run.seed = options->seed > 0 ? options->seed : 1;
    it->run.scenario = lw_scenario_find(name != NULL ? name : "lattice");
    it->run.node_count = options->node_count;
    it->run.settings = options->settings;
    const char *wrong = judge_workload(workload);
    if (wrong != NULL) {
        return refuse(it->result, wrong);
    }
    if (it->run.scenario == NULL || !lw_scenario_has_clients(it->run.scenario)) {
        return refuse(it->result,
                      "there is no scenario of that name that has clients: --help lists them");
    }
    if (options->node_count > LW_SCENARIO_NODES_MAX) {
        return refuse(it->result, "a world has room for seven nodes");
    }
    if (options->node_count > 0 && options->node_count < it->run.scenario->node_min) {
        return refuse(it->result, "the scenario is made for more nodes: 0 are as many as it has");
    }
    for (const char *const *one = options->settings; one != NULL && *one != NULL; one++) {
        if (!is_setting(*one)) {
            return refuse(it->result, "settings are NAME=VALUE");
        }
    }
    if (options->trace_path != NULL) {
        it->run.trace = fopen(options->trace_path, "w");
        if (it->run.trace == NULL) {
            return refuse(it->result, strerror(errno));
        }
    }
    return LW_OK;
}

static void close_file(FILE *file) {
    if (file != NULL) {
        (void)fclose(file);
    }
}

lw_status lw_sim_run(const lw_sim_workload *workload, const lw_sim_options *options,
                     lw_sim_result *result) {
    static const lw_sim_options defaults;
    *result = (lw_sim_result){0};
    frame it = {.memory = lw_memory_open(),
                .options = options == NULL ? &defaults : options,
                .result = result};
    lw_status status = take_options(&it, workload);
    uint64_t count = it.options->run_count > 0 ? it.options->run_count : 1;
    for (uint64_t run = 0; status == LW_OK && run < count; run++) {
        it.run.report = tmpfile();
        run_seed(&it);
        close_file(it.run.report);
        it.run.seed++;
    }
    close_file(it.run.trace);
    lw_memory_close(it.memory);
    return status;
}
