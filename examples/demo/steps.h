/* Running the demo's programs: each stage is a process of its own, as a user would
 * start it. */
#ifndef DEMO_STEPS_H
#define DEMO_STEPS_H

/* Ends the demo with a message; what was written stays for a look. */
void step_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* "DIR/NAME" for a name with printf's marks; eight results may be in use at once. */
const char *step_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
void step_set_folder(const char *folder);
const char *step_folder(void);
/* Where the programs are: beside this one and in the folder above. */
void step_find_programs(const char *own_path);

/* Writes DIR/config/NAME.yaml. */
void step_config(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Runs a program with DIR/config/NAME.yaml, or (name NULL) with arguments; ends the
 * demo if it fails. */
void step_run(const char *title, const char *program, const char *config);
void step_run_with(const char *program, const char *const *arguments);
/* Runs 04_annotate with an annotator at the other end of two pipes. */
void step_annotate(const char *title, const char *config, const char *const *annotator);

double step_seconds(void);  /* monotonic */
double step_peak_mib(void); /* most memory that any of the processes held */

#endif
