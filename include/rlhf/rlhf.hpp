/* The whole of librlhf in C++17: header-only, over rlhf.h.
 *
 * A class stands for each handle (move-only; its destructor frees), a struct for each
 * struct (initialised; its fields are the C struct's), a member for each function. What
 * they do, which shapes, ranges and errors there are, is said once, in the C headers: the
 * function rlhf_model_logprobs of rlhf/model.h is rlhf::model::logprobs here. What C++
 * adds is said here, and in docs/embedding.md:
 *
 * - A failure is thrown as rlhf::error, one by cancellation as rlhf::cancelled. What a
 *   callback throws arrives, as it was thrown, from the call in which it ran.
 * - The end of a stream is no failure: what gives a next item or step gives nullopt.
 * - Texts and arrays come in as std::string_view and rlhf::span; results are returned. */
#ifndef RLHF_RLHF_HPP
#define RLHF_RLHF_HPP

#include <rlhf/hpp/core.hpp>
#include <rlhf/hpp/data.hpp>
#include <rlhf/hpp/model.hpp>
#include <rlhf/hpp/train.hpp>

#endif
