"""Nodes: a cohort of identical honest nodes, and the adversary with all malicious nodes.

Honest nodes with the same weights, data and defences do identical work on identical data, so one
cohort generates for all of them and learns once. This is exact, and m nodes learn at the cost of
one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from swarmproof.attacks import Attack
from swarmproof.attacks.base import AttackView
from swarmproof.guard.guard import Guard
from swarmproof.guard.inspection import Inspecting, Inspection
from swarmproof.policies.policy import Policy, TrainedPolicy
from swarmproof.randomness import derive_seed, generator
from swarmproof.swarm.allocator import give_back_freed_memory
from swarmproof.swarm.assignment import Assignment, pick_problems
from swarmproof.swarm.stopwatch import Stopwatch
from swarmproof.tasks import Task
from swarmproof.tasks.base import Withheld
from swarmproof.types import Completion, Group, NodeId, Problem, Slot, UpdateStats, withheld

_LARGE = 20_000_000  # parameters, from which freed memory is worth the time to give it back


@dataclass(frozen=True, slots=True)
class Cohort:
    """Identical honest nodes. Policy and guard are its only state, and change with each round."""

    name: str
    nodes: tuple[NodeId, ...]
    policy: TrainedPolicy
    task: Task
    guard: Guard
    run_seed: int

    def produce(
        self, assignment: Assignment, nodes: Collection[NodeId]
    ) -> dict[NodeId, list[Completion]]:
        """Sample a completion for every slot of this cohort's nodes among `nodes`, in one batch."""
        produced: dict[NodeId, list[Completion]] = {n: [] for n in self.nodes if n in nodes}
        slots: dict[str, list[tuple[Slot, NodeId]]] = {}
        for node in produced:
            for slot in assignment.slots[node]:
                slots.setdefault(slot.problem_id, []).append((slot, node))
        drawn = self.policy.generator.generate(
            [self.task.prompt(assignment.problems[problem_id]) for problem_id in slots],
            [[self.slot_seed(slot) for slot, _ in row] for row in slots.values()],
        )
        self._give_back()
        texts = iter(self.policy.codec.decode([ids for row in drawn for ids in row]))
        for row, ids_of_row in zip(slots.values(), drawn, strict=True):
            for (slot, node), ids in zip(row, ids_of_row, strict=True):
                produced[node].append(Completion(slot, node, next(texts), ids))
        return produced

    def _give_back(self) -> None:
        # After the draws only. The passes of an update are alike, and need this memory again.
        if self.policy.learner.num_parameters > _LARGE:
            give_back_freed_memory()

    def slot_seed(self, slot: Slot) -> int:
        """The seed of a slot's noise. Without the node: more identities give no more draws."""
        return slot_seed(self.run_seed, slot)

    def group(self, problem: Problem, completions: Sequence[Completion]) -> Group:
        """Admitted completions of a problem, with this node's own knowledge about them."""
        seeds = tuple(self.slot_seed(completion.slot) for completion in completions)
        return Group(problem, tuple(completions), self.task.prompt(problem), seeds)

    def learn(
        self, groups: Sequence[Group], assignment: Assignment, watch: Stopwatch
    ) -> tuple[Inspection, UpdateStats]:
        """Reward, inspect and learn from a round's groups.

        If a refusal asks for it, the receiver draws the slot itself, or leaves the node out, and
        the groups are scored and packed anew. The update is then the same as if the groups had
        arrived so.
        """
        missing = _missing(groups, assignment)
        void = frozenset(missing if "void_node" in self.guard.rules_in_force else ())
        if "refill" in self.guard.rules_in_force:
            with watch.step("refill"):
                groups = self.refill(groups, assignment, missing)
        inspecting = self._look(groups, assignment.round, watch, void)
        replaced = inspecting.replaced
        if inspecting.unsettled:
            self.policy.learner.discard()
            slots = _by_node(sample.completion for sample in replaced)
            with watch.step("refill"):
                groups = self.refill(inspecting.groups, assignment, slots)
            void |= inspecting.void
            inspecting = self._look(groups, assignment.round, watch, void, final=True)
        with watch.step("learn"):
            stats = self.policy.learner.step()
        with watch.step("inspect"):
            return self.guard.finish(inspecting, replaced), stats

    def refill(
        self,
        groups: Sequence[Group],
        assignment: Assignment,
        slots: Mapping[NodeId, tuple[Slot, ...]],
    ) -> list[Group]:
        """The groups of the round, with this node's own draws in the given slots of others."""
        if not any(slots.values()):
            return list(groups)
        own = replace(self, nodes=tuple(slots))
        drawn = own.produce(replace(assignment, slots=slots), own.nodes)
        found = {c.slot: c for group in groups for c in group.completions}
        found |= {c.slot: replace(c, refilled=True) for row in drawn.values() for c in row}
        by_problem: dict[str, list[Completion]] = {name: [] for name in assignment.problems}
        for slot in sorted(found):
            by_problem[slot.problem_id].append(found[slot])
        return [self.group(assignment.problems[name], of) for name, of in by_problem.items() if of]

    def _look(
        self,
        groups: Sequence[Group],
        round: int,
        watch: Stopwatch,
        void: frozenset[NodeId],
        *,
        final: bool = False,
    ) -> Inspecting:
        """Inspect a round's groups, and accumulate their gradient while nothing is unsettled."""
        scorer, learner = self.policy.scorer, self.policy.learner
        with watch.step("reward"):
            rewards = self.task.group_rewards([(group.problem, group.texts) for group in groups])
        with watch.step("inspect"):
            inspecting = self.guard.begin(groups, rewards, round=round, void=void, final=final)
        # With a KL term every group has a gradient.
        learnable = [learner.grpo.beta > 0 or can for can in inspecting.learnable]
        prompts, tokens = [group.prompt for group in groups], [group.token_ids for group in groups]
        seeds = [group.slot_seeds for group in groups]
        for indices, forward in scorer.passes(prompts, tokens, learnable, seeds):
            forward.learnable &= not inspecting.unsettled
            if inspecting.reads_passes and forward.learnable:
                with watch.step("learn"):  # the update needs this pass as well
                    forward.logits()
            with watch.step("inspect"):
                samples = inspecting.feed(indices, forward)
            if not inspecting.unsettled:
                with watch.step("learn"):
                    learner.accumulate(forward, samples)
        return inspecting


@dataclass(frozen=True, slots=True)
class Adversary:
    """The malicious nodes. They collude, so they act as one."""

    nodes: tuple[NodeId, ...]
    attack: Attack
    task: Task
    policy: Policy  # the honest nodes' model, in step with them; to read, not to train
    # The problems that they pick from, in a vertical swarm; None: they keep the assigned ones.
    pickable: Sequence[Problem] | None
    topology: str
    num_nodes: int
    run_seed: int

    def picks(self, dealt: Assignment) -> dict[NodeId, tuple[str, ...]]:
        """The problems that they choose for themselves in a round; none if they do not choose."""
        if self.pickable is None:
            return {}
        return pick_problems(self.pickable, dealt, self.run_seed, self.nodes)

    def produce(
        self, assignment: Assignment, seen: Iterable[Completion] = ()
    ) -> dict[NodeId, list[Completion]]:
        """The completions that the attack crafts for the slots of these nodes.

        Args:
            assignment: of the round.
            seen: what honest nodes send in this round, as far as the adversary sees it.
        """
        slots = {node: assignment.slots[node] for node in self.nodes}
        names = [slot.problem_id for row in slots.values() for slot in row]
        own = {name: assignment.problems[name] for name in names}
        task = self.task
        if not self.attack.oracle:
            own = {name: withheld(problem) for name, problem in own.items()}
            task = Withheld(of=task)
        view = AttackView(
            nodes=self.nodes,
            slots=slots,
            problems=own,
            task=task,
            policy=self.policy,
            topology=self.topology,
            num_nodes=self.num_nodes,
            rng=generator(self.run_seed, "attack", assignment.round),
            slot_seed=partial(slot_seed, self.run_seed),
            seen=tuple(seen) if self.attack.sees_others else (),
        )
        produced: dict[NodeId, list[Completion]] = {node: [] for node in self.nodes}
        for completion in self.attack.craft(view):
            if completion.node not in produced:
                raise ValueError(
                    f"the attack {self.attack.name!r} returned a completion of node "
                    f"{completion.node!r:.20}; its nodes are {', '.join(map(str, self.nodes))}"
                )
            produced[completion.node].append(completion)
        return produced


def slot_seed(run_seed: int, slot: Slot) -> int:
    """The seed of a slot's noise in a run, which everybody can derive."""
    return derive_seed(run_seed, "completion", slot.round, slot.problem_id, slot.index)


def _missing(groups: Sequence[Group], assignment: Assignment) -> dict[NodeId, tuple[Slot, ...]]:
    """The slots of each node that nothing admissible was received for."""
    there = {completion.slot for group in groups for completion in group.completions}
    owed = {n: tuple(s for s in own if s not in there) for n, own in assignment.slots.items()}
    return {node: slots for node, slots in owed.items() if slots}


def _by_node(completions: Iterable[Completion]) -> dict[NodeId, tuple[Slot, ...]]:
    slots: dict[NodeId, tuple[Slot, ...]] = {}
    for completion in completions:
        slots[completion.node] = (*slots.get(completion.node, ()), completion.slot)
    return slots


def as_read_by(cohort: Cohort, claim: Completion) -> Completion:
    """The completion, without its token ids if they belong to another model's vocabulary."""
    return replace(claim, token_ids=None) if claim.node in cohort.guard.rules.foreign else claim
