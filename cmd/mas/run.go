package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/telemetry"
)

func newServe() *cobra.Command {
	var file string
	var set []string
	cmd := &cobra.Command{
		Use: "serve --config FILE", Short: "run a MAS", Args: cobra.NoArgs,
		Long: "Runs a MAS with the settings of FILE; environment variables MAS_CONFIG_… and --set win over it.\n" +
			"People cannot log in yet: decisions are refused with no_person_authentication.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags, err := settings(set)
			if err != nil {
				return err
			}
			c, err := config.LoadServe(config.Sources{File: file, Environ: os.Environ(), Flags: flags})
			if err != nil {
				return err
			}
			return run(cmd.Context(), domain.Options{Config: c, Attended: true})
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "YAML file")
	cmd.Flags().StringArrayVar(&set, "set", nil, "override one setting, as key=value (repeatable)")
	cobra.CheckErr(cmd.MarkFlagRequired("config"))
	return cmd
}

func newDev() *cobra.Command {
	var dir, listen, issuer string
	cmd := &cobra.Command{
		Use: "dev", Short: "run a MAS on a loopback address, with local keys and principals", Args: cobra.NoArgs,
		Long: "Runs a MAS without configuration. The directory gets keys and local principals on first use; private keys\n" +
			"of the principals are in its dev.json, which is written when the server is ready.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := devConfig(dir, listen, issuer)
			if err != nil {
				return err
			}
			if err := os.Remove(filepath.Join(dir, "dev.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if err := domain.InitDev(dir, c.Issuer, domain.DevCeiling); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "issuer   %s\nlog      %s\nscripts  %s\n", c.Issuer, c.LogOrigin(),
				filepath.Join(dir, "dev.json"))
			return run(cmd.Context(), domain.Options{Config: c, DevDir: dir})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "data", "directory of store, keys, principals and peers")
	cmd.Flags().StringVar(&listen, "listen", "", "loopback address to listen on (127.0.0.1:8420)")
	cmd.Flags().StringVar(&issuer, "issuer", "", "issuer identifier (http:// and the address)")
	return cmd
}

// devConfig is the configuration of a development directory. Flags win over its config.yaml.
func devConfig(dir, listen, issuer string) (*config.Config, error) {
	flags := map[string]string{}
	if listen != "" {
		flags["listen"] = listen
	}
	if issuer == "" && listen != "" {
		issuer = "http://" + listen
	}
	if issuer != "" {
		flags["issuer"] = issuer
	} else if _, err := os.Stat(filepath.Join(dir, "config.yaml")); err != nil {
		flags["issuer"] = "http://127.0.0.1:8420"
	}
	return config.LoadDev(dir, config.Sources{Environ: os.Environ(), Flags: flags})
}

// run serves until the process is told to stop. Being told is no failure; a closed latch is.
func run(ctx context.Context, o domain.Options) error {
	log, err := telemetry.NewLogger(os.Stderr, o.Config.Telemetry.Level, o.Config.Telemetry.Format)
	if err != nil {
		return err
	}
	o.Logger = log
	if strings.HasPrefix(o.Config.Issuer, "http://") {
		log.Warn("plain HTTP on a loopback address: for development only")
	}
	d, err := domain.Open(ctx, o)
	if err != nil {
		return err
	}
	err = d.Run(ctx)
	if errors.Is(err, domain.ErrLatched) {
		return failure{1, err}
	}
	return err
}
