from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from agents.interface import EnvShape, RecurrentState
from agents.networks import (
    CPU_CHUNK_STACKS,
    ConvEncoder,
    DuelingHead,
    RecurrentQNetwork,
    stacks_from_frames,
)
from agents.options import NetworkOptions

ENV = EnvShape(actions=5, frame_height=36, frame_width=36)
ATARI = EnvShape(actions=18, frame_height=84, frame_width=84)
OPTIONS = NetworkOptions(channels=(4, 8, 8), features=16, lstm=12, hidden=10)


def make_network(*, env=ENV, seed=0, encoders=1, given_features=0, **changes):
    torch.manual_seed(seed)
    options = replace(OPTIONS, **changes)
    return RecurrentQNetwork(env, options, encoders=encoders, given_features=given_features)


def random_inputs(steps, lanes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    stacks = torch.randint(0, 256, (steps * lanes, 4, 36, 36), generator=generator).to(torch.uint8)
    actions = torch.randint(-1, 5, (steps, lanes), generator=generator)
    rewards = torch.randn(steps, lanes, generator=generator)
    return stacks, actions, rewards


def test_encoder_equals_a_plain_one_that_divides_pixels_by_255():
    torch.manual_seed(0)
    encoder = ConvEncoder(ATARI, OPTIONS).double()
    stacks = torch.randint(0, 256, (3, 4, 84, 84), dtype=torch.uint8)

    x = stacks.double() / 255.0
    for layer in encoder.convolutions:
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, layer.stride))
    weight = encoder.projection.weight.reshape(16, 7, 7, 8).permute(0, 3, 1, 2).flatten(1)
    expected = F.relu(x.flatten(1) @ weight.T + encoder.projection.bias)

    torch.testing.assert_close(encoder(stacks), expected, rtol=1e-10, atol=1e-12)


def test_a_normalized_encoder_equals_one_written_out_in_float64():
    torch.manual_seed(0)
    encoder = make_network(layer_norm=True).encoder.double()
    torch.nn.init.normal_(encoder.norm.weight)  # or gain and bias could be forgotten
    torch.nn.init.normal_(encoder.norm.bias)
    stacks = torch.randint(0, 256, (3, 4, 36, 36), dtype=torch.uint8)

    x = stacks.double() / 255.0
    for layer in encoder.convolutions:
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, layer.stride))
    x = encoder.projection(x.permute(0, 2, 3, 1).flatten(1))
    mean = x.mean(1, keepdim=True)
    deviation = ((x - mean) ** 2).mean(1, keepdim=True).add(1e-5).sqrt()
    expected = F.relu((x - mean) / deviation * encoder.norm.weight + encoder.norm.bias)

    torch.testing.assert_close(encoder(stacks), expected, rtol=1e-9, atol=1e-11)


def test_a_normalized_head_is_normalized_before_each_relu():
    torch.manual_seed(0)
    head = DuelingHead(6, 8, 3, layer_norm=True)
    x = torch.randn(4, 6)

    def stream(layers):
        first, norm, _, last = layers
        return last(F.relu(F.layer_norm(first(x), (8,), norm.weight, norm.bias)))

    advantage = stream(head.advantage)
    expected = stream(head.value) + advantage - advantage.mean(-1, keepdim=True)
    torch.testing.assert_close(head(x), expected)


def test_a_centred_encoder_sees_bytes_as_it_sees_frames_centred_before_they_are_stacked():
    encoder = make_network(centred_input=True).encoder
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (8, 2, 36, 36), generator=generator).to(torch.uint8)
    frames[:3, 1] = 0  # the second lane's episode begins with row 0
    plain = encoder(stacks_from_frames(frames, 4))
    encoder.centring.measure(frames.flatten(0, 1))

    centred = encoder(stacks_from_frames(encoder.see(frames), 4))

    torch.testing.assert_close(encoder(stacks_from_frames(frames, 4)), centred)
    assert not torch.allclose(centred, plain, atol=0.1)


def test_without_centring_frames_are_seen_as_they_are():
    encoder = make_network().encoder
    frames = torch.randint(0, 256, (2, 36, 36), dtype=torch.uint8)

    assert encoder.see(frames) is frames


def test_encoder_gives_the_same_on_channels_last_and_contiguous_stacks():
    encoder = make_network().encoder
    stacks, _, _ = random_inputs(2, 3)

    plain = encoder(stacks.contiguous())
    last = encoder(stacks.contiguous(memory_format=torch.channels_last))

    torch.testing.assert_close(plain, last, rtol=1e-5, atol=1e-6)


def test_many_stacks_have_the_features_and_gradients_of_the_same_ones_encoded_few_at_a_time():
    torch.manual_seed(0)
    encoder = ConvEncoder(ENV, replace(OPTIONS, frame_stack=1, channels=(2, 3, 4), features=5))
    stacks = torch.randint(0, 256, (2 * CPU_CHUNK_STACKS + 3, 1, 36, 36), dtype=torch.uint8)
    upstream = torch.randn(len(stacks), 5)

    features = encoder(stacks)
    (features * upstream).sum().backward()
    gradients = [parameter.grad.clone() for parameter in encoder.parameters()]

    encoder.zero_grad()
    for some, weights in zip(stacks.split(100), upstream.split(100), strict=True):
        (encoder(some) * weights).sum().backward()
    pieces = torch.cat([encoder(some) for some in stacks.split(100)])
    torch.testing.assert_close(features, pieces, rtol=1e-4, atol=1e-5)
    for gradient, parameter in zip(gradients, encoder.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-3)


def test_encoder_refuses_frames_smaller_than_its_kernels():
    with pytest.raises(ValueError, match="20x20"):
        make_network(env=EnvShape(actions=5, frame_height=20, frame_width=20))


@pytest.mark.parametrize("seed", range(4))
def test_a_new_networks_values_are_near_zero_and_differ_from_frame_to_frame(seed):
    # With PyTorch's own parameters the second figure is 0.003 to 0.01: blind to the frame.
    generator = torch.Generator().manual_seed(1)
    stacks = torch.full((64, 2, 84, 84), 87, dtype=torch.uint8)
    for stack, (row, column) in zip(
        stacks, torch.randint(0, 76, (64, 2), generator=generator).tolist(), strict=True
    ):
        stack[:, row : row + 8, column : column + 8] = 236
    env = EnvShape(actions=6, frame_height=84, frame_width=84)
    size = {"frame_stack": 2, "channels": (16, 32, 32), "features": 256, "lstm": 128, "hidden": 128}
    network = make_network(env=env, seed=seed, **size)

    with torch.no_grad():
        features = network.encode(stacks)[None]
        nothing = torch.full((1, 64), -1), torch.zeros(1, 64)
        q, _ = network.unroll(features, *nothing, network.initial_state(64))

    assert q.abs().max() < 0.3
    assert (q.std(dim=1).mean() / q.abs().mean()) > 0.05


def test_the_memory_of_a_new_network_begins_open():
    input_gate, forget_gate, _, _ = make_network(lstm=64).core.bias_ih_l0.chunk(4)

    assert forget_gate.mean().item() == pytest.approx(1.0, abs=0.05)
    assert input_gate.mean().item() == pytest.approx(0.0, abs=0.05)


def test_dueling_head_subtracts_the_mean_advantage():
    # Hand-worked: V = 2 x; A = (x, 3 x, 5 x). For x = 1: V = 2, A = (1, 3, 5), mean 3.
    # Q = 2 + A - 3 = (0, 2, 4).
    head = DuelingHead(1, 1, 3, layer_norm=False)
    with torch.no_grad():
        for stream, outputs in ((head.value, [[2.0]]), (head.advantage, [[1.0], [3.0], [5.0]])):
            stream[0].weight.fill_(1.0)
            stream[0].bias.zero_()
            stream[2].weight.copy_(torch.tensor(outputs))
            stream[2].bias.zero_()

    q = head(torch.tensor([[1.0]]))

    assert q.tolist() == [[0.0, 2.0, 4.0]]


@pytest.mark.parametrize("changes", [{}, {"skip_core": True}, {"encoders": 2}])
def test_an_unroll_of_t_steps_equals_t_single_steps(changes):
    network = make_network(**changes)
    stacks, actions, rewards = random_inputs(steps=6, lanes=3)
    features = network.encode(stacks).unflatten(0, (6, 3))

    together, last = network.unroll(features, actions, rewards, network.initial_state(3))
    state = network.initial_state(3)
    singly = []
    for t in range(6):
        q, state = network.unroll(
            features[t : t + 1], actions[t : t + 1], rewards[t : t + 1], state
        )
        singly.append(q)

    torch.testing.assert_close(together, torch.cat(singly), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(last.hidden, state.hidden, rtol=1e-5, atol=1e-6)


def test_a_lane_that_starts_an_episode_in_mid_batch_forgets_and_the_others_do_not():
    network = make_network()
    stacks, actions, rewards = random_inputs(steps=6, lanes=2)
    features = network.encode(stacks).unflatten(0, (6, 2))
    fresh = torch.tensor([True, False])

    _, middle = network.unroll(features[:3], actions[:3], rewards[:3], network.initial_state(2))
    restarted = RecurrentState.where(fresh, network.initial_state(2), middle)
    q, _ = network.unroll(features[3:], actions[3:], rewards[3:], restarted)

    alone, _ = network.unroll(
        features[3:, :1], actions[3:, :1], rewards[3:, :1], network.initial_state(1)
    )
    through, _ = network.unroll(features, actions, rewards, network.initial_state(2))
    torch.testing.assert_close(q[:, :1], alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(q[:, 1], through[3:, 1], rtol=1e-5, atol=1e-6)


def test_the_core_sees_the_previous_action_and_reward():
    network = make_network()
    stacks, actions, rewards = random_inputs(steps=1, lanes=2)
    features = network.encode(stacks).unflatten(0, (1, 2))
    state = network.initial_state(2)

    q, _ = network.unroll(features, actions, rewards, state)
    other_action, _ = network.unroll(features, (actions + 2) % 5, rewards, state)
    other_reward, _ = network.unroll(features, actions, rewards + 1.0, state)

    assert not torch.allclose(q, other_action)
    assert not torch.allclose(q, other_reward)


def test_no_previous_action_is_all_zeros():
    network = make_network()
    none = torch.full((1, 1), -1)
    features = torch.zeros(1, 1, 16)
    with torch.no_grad():
        network.core.weight_ih_l0[:, 17:] = 1e3  # any one-hot would show

    q, _ = network.unroll(features, none, torch.zeros(1, 1), network.initial_state(1))
    with torch.no_grad():
        network.core.weight_ih_l0[:, 17:] = 0.0
    silent, _ = network.unroll(features, none, torch.zeros(1, 1), network.initial_state(1))

    assert torch.equal(q, silent)


def test_tanh_squashes_the_previous_reward():
    network = make_network(previous_reward="tanh")
    features, actions = torch.zeros(1, 1, 16), torch.zeros(1, 1, dtype=torch.long)
    state = network.initial_state(1)

    large, _ = network.unroll(features, actions, torch.full((1, 1), 1e4), state)
    larger, _ = network.unroll(features, actions, torch.full((1, 1), 1e5), state)
    small, _ = network.unroll(features, actions, torch.full((1, 1), 0.1), state)

    assert torch.equal(large, larger)
    assert not torch.equal(large, small)


def test_given_features_reach_the_q_values_and_get_no_gradient():
    network = make_network(given_features=7)
    stacks, _, _ = random_inputs(steps=1, lanes=2)
    given = torch.randn(2, 7, requires_grad=True)

    features = network.encode(stacks, given)
    features.sum().backward()

    assert features.shape == (2, 16 + 7)
    assert torch.equal(features[:, 16:], given)
    assert given.grad is None


def test_stacks_from_frames_puts_the_newest_frame_last():
    frames = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1).expand(6, 2, 3, 3)

    stacks = stacks_from_frames(frames, 4).unflatten(0, (3, 2))

    assert stacks.shape == (3, 2, 4, 3, 3)
    assert stacks[0, 0, :, 0, 0].tolist() == [0, 1, 2, 3]
    assert stacks[2, 1, :, 0, 0].tolist() == [2, 3, 4, 5]
    assert stacks.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
