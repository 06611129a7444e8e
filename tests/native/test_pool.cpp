#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "check.h"
#include "pool.h"
#include "tests.h"

namespace driver {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true, kForks = false;  // it cannot follow a child that starts threads
#elif defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true, kForks = true;
#else
constexpr bool kSanitized = false, kForks = true;
#endif

using unrolled::Lease;

template <class Job>
bool run(Lease& lease, Job job) {
    return lease.run([](void* context, int thread) { (*static_cast<Job*>(context))(thread); }, &job);
}

// Every thread writes its own number, plainly, and reads all others' after a barrier.
bool barriers_hold(int threads, int rounds) {
    Lease lease(threads);
    std::vector<int> written(static_cast<size_t>(lease.threads()), -1);
    std::atomic<int> wrong{0};
    run(lease, [&](int thread) {
        for (int round = 0; round < rounds; ++round) {
            written[static_cast<size_t>(thread)] = round;
            lease.barrier();
            for (int value : written) wrong += value != round;
            lease.barrier();
        }
    });
    return wrong == 0 && written == std::vector<int>(written.size(), rounds - 1);
}

void each_thread_runs_once() {
    for (int threads : {1, 2, 3, 5, 2, 7, 1, 3}) {
        Lease lease(threads);
        check(lease.threads() == threads, "threads: expected " + std::to_string(threads) + ", got " +
                                              std::to_string(lease.threads()));
        for (int again = 0; again < 50; ++again) {
            std::vector<int> ran(static_cast<size_t>(threads), 0);
            run(lease, [&](int thread) { ++ran[static_cast<size_t>(thread)]; });
            check(ran == std::vector<int>(ran.size(), 1), "a thread of the job did not run, or ran twice");
        }
    }
}

void one_thread_is_the_callers() {
    Lease lease(1);
    const auto caller = std::this_thread::get_id();
    bool same = false;
    run(lease, [&](int thread) {
        same = thread == 0 && std::this_thread::get_id() == caller;
        lease.barrier();
    });
    check(same, "a job of one thread ran elsewhere");
    for (int few : {0, -3}) check(Lease(few).threads() == 1, "threads below 1: expected 1");
}

void nested_leases_have_one_thread() {
    Lease outer(3);
    std::atomic<int> inner_threads{0}, ran{0};
    run(outer, [&](int) {
        Lease inner(3);
        inner_threads += inner.threads();
        run(inner, [&](int) { ++ran; });
    });
    check(inner_threads == 3 && ran == 3, "a lease within a job: expected one thread");
    check(Lease(2).threads() == 1, "a lease beside one that is held: expected one thread");
}

void callers_do_not_wait_for_each_other() {
    std::atomic<int> wrong{0}, together{0};
    std::vector<std::thread> callers;
    for (int n = 0; n < 4; ++n)
        callers.emplace_back([&] {
            for (int again = 0; again < 200; ++again) {
                wrong += !barriers_hold(2 + again % 2, 3);
                together += Lease(2).threads() == 2;
            }
        });
    for (std::thread& caller : callers) caller.join();
    check(wrong == 0, "several callers at once: a job went wrong");
    check(together > 0, "several callers at once: none of them ever got the pool");
    check(Lease(2).threads() == 2, "the pool was not given back");
}

void workers_leave_signals_to_the_program() {
    Lease lease(2);
    sigset_t in_worker, in_caller;
    run(lease, [&](int thread) {
        if (thread == 1) pthread_sigmask(SIG_SETMASK, nullptr, &in_worker);
    });
    pthread_sigmask(SIG_SETMASK, nullptr, &in_caller);
    for (int signal : {SIGINT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1})
        check(sigismember(&in_worker, signal) == 1, "a worker takes signal " + std::to_string(signal));
    check(sigismember(&in_worker, SIGSEGV) == 0, "a worker holds back its own faults");
    check(sigismember(&in_caller, SIGUSR1) == 0, "the caller's signals were left blocked");
}

// Processor time, not time: what sleeps uses none, however slow the machine is.
void idle_threads_sleep() {
    barriers_hold(2, 10);
    const std::clock_t start = std::clock();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    check(seconds < 0.1, "idle threads used " + std::to_string(seconds) + " s of 0.3 s");
}

// What `child` returns, or how it died, as a process of its own; one that hangs is ended by its alarm.
template <class Child>
int status_of(Child child) {
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        _exit(child());
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

// What `body` returns when it runs while another thread is within a job of the pool.
template <class Body>
int while_busy(Body body) {
    std::atomic<bool> inside{false}, leave{false};
    std::thread other([&] {
        Lease lease(2);
        run(lease, [&](int) {
            inside = true;
            while (!leave) std::this_thread::yield();
        });
    });
    while (!inside) std::this_thread::yield();
    const int result = body();
    leave = true;
    other.join();
    return result;
}

int child_works() {
    if (Lease(2).threads() != 2) return 3;
    if (!barriers_hold(2, 50) || !barriers_hold(3, 5)) return 4;
    return 0;
}

void children_start_anew() {
    if (!kForks) return;
    check(status_of(child_works) == 0, "fork while idle: the child could not work");
    const auto fork_now = [] { return status_of(child_works); };
    check(while_busy(fork_now) == 0, "fork while busy: the child could not work");
    const auto grandchild = [] { return child_works() || status_of(child_works) != 0; };
    check(status_of(grandchild) == 0, "fork in a fork: the child could not work");
    check(barriers_hold(2, 50), "the parent could not work after a fork");
}

void processes_end_cleanly() {
    if (kSanitized) return;  // they look for leaks at every exit, and find threads of the parent
    const auto idle = []() -> int {
        barriers_hold(3, 5);
        std::exit(0);  // destroys what is static, with the pool's threads asleep
    };
    check(status_of(idle) == 0, "exit while idle: expected status 0");
    const auto busy = []() -> int {
        return while_busy([]() -> int { std::exit(0); });
    };
    check(status_of(busy) == 0, "exit while busy: expected status 0");
}

// No room for so many stacks.
void too_few_threads_is_no_error() {
    if (kSanitized) return;  // they map terabytes
    const auto child = [] {
        rlimit little = {1 << 20, 1 << 20};
        if (setrlimit(RLIMIT_AS, &little) != 0) return 3;
        Lease lease(100);
        std::atomic<int> ran{0};
        run(lease, [&](int) { ++ran; });
        return lease.threads() < 100 && ran == lease.threads() ? 0 : 4;
    };
    check(status_of(child) == 0, "no memory for threads: expected fewer to do the job");
}

// An OpenMP runtime that gives teams of at most `most` threads, whatever is asked for.
namespace runtime {
int most = 1;
thread_local int team_size = 1;

void parallel(void (*job)(void*), void* data, unsigned asked, unsigned) {
    const int size = std::min(most, static_cast<int>(asked));
    const auto member = [=] {
        team_size = size;
        job(data);
        team_size = 1;
    };
    std::vector<std::thread> others;
    for (int n = 1; n < size; ++n) others.emplace_back(member);
    member();
    for (std::thread& other : others) other.join();
}
int size() { return team_size; }
int in_parallel() { return team_size > 1; }
}  // namespace runtime

void a_team_may_have_any_size() {
    unrolled::borrow({runtime::parallel, runtime::size, runtime::in_parallel});
    for (int most : {4, 2, 4, 1, 3, 9}) {
        runtime::most = 4;
        Lease lease(4);
        check(lease.threads() == 4, "a borrowed team: expected the threads asked for");
        runtime::most = most;  // it shrinks before the job begins
        int tries = 0;
        std::vector<int> ran;
        const auto job = [&](int thread) {
            lease.barrier();
            ++ran[static_cast<size_t>(thread)];
        };
        do {
            ran.assign(static_cast<size_t>(lease.threads()), 0);
        } while (!run(lease, job) && ++tries < 9);
        check(lease.threads() == std::min(most, 4), "a borrowed team: expected " + std::to_string(most) +
                                                        " threads, got " + std::to_string(lease.threads()));
        check(ran == std::vector<int>(ran.size(), 1), "a borrowed team: a thread did not run, or ran twice");
    }
    unrolled::borrow({});
    check(barriers_hold(3, 50), "after a borrowed team: the pool's own threads could not work");
}

}  // namespace

void test_pool() {
    const auto test = [](const char* name, void (*run)()) {
        now_testing(std::string("pool, ") + name);
        run();
    };
    test("each thread runs once", each_thread_runs_once);
    test("one thread", one_thread_is_the_callers);
    test("nested", nested_leases_have_one_thread);
    test("barriers", [] {
        for (int threads : {2, 3, 5})
            check(barriers_hold(threads, 1000), "a barrier let a thread through early");
    });
    test("several callers", callers_do_not_wait_for_each_other);
    test("signals", workers_leave_signals_to_the_program);
    test("idle", idle_threads_sleep);
    test("borrowed team", a_team_may_have_any_size);
    test("fork", children_start_anew);
    test("exit", processes_end_cleanly);
    test("no room", too_few_threads_is_no_error);
}

}  // namespace driver
